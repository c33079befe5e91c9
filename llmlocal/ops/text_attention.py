"""Attention within texts that lie whole in a batch, without a mask, as encoders have it.

A work item is a head of a text: its keys, transposed, and its values are copied together once, where both stay in the
first caches while a few queries after the other pass. Scores of all keys of a few queries are there at once, so no
partial results are merged.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from .attention import ITEMS
from .exp import LOG2_E, power_of_2
from .softmax import NO_SINK

MOST_TOKENS = 512  # of a text: with more, its keys and values would leave the L2 cache
HEAD_MULTIPLE = 16  # the numbers of a head are a multiple of it
WIDEST = 32  # keys that any instruction set multiplies at once, at most
MOST_ROWS = 24  # queries whose scores are kept
BLOCK = 48  # queries of a work item, where heads are too few for all threads


class Arguments(NamedTuple):
    """q and out (tokens, heads, head_dim), k and v (tokens, kv_heads, head_dim), float32."""

    tokens: int  # address of their number
    last_positions: int  # (tokens,) int64: the number of tokens of each token's text, less one
    q: int
    k: int
    v: int
    out: int
    heads: int
    kv_heads: int
    head_dim: int
    scale: int  # a float that multiplies scores
    scratch: int
    scratch_bytes: int  # of each thread
    most: int  # tokens of a text, at most


class Text(NamedTuple):
    """A text in the batch, and where a thread keeps what it needs of one head."""

    first: int  # token
    tokens: int
    keys: int  # for every KEYS keys (head_dim, KEYS), keys beyond the text are 0
    values: int  # (tokens, rounded up to a multiple of KEYS, head_dim)
    start: int  # (as many,) what sums for scores start from: 0, and NO_SINK beyond the text
    scores: int  # rows of `stride` bytes
    stride: int
    peaks: int  # a vector for each row, and the sum of its weights


def takes(n_ctx: int, head_dim: int, value_dim: int) -> bool:
    """Whether the kernel takes texts of at most `n_ctx` tokens with heads of these numbers."""
    return n_ctx <= MOST_TOKENS and head_dim == value_dim and head_dim % HEAD_MULTIPLE == 0


def scratch_bytes(most: int, head_dim: int) -> int:
    """Scratch bytes of each thread, for texts of `most` tokens."""
    keys = -(-most // WIDEST) * WIDEST
    return 4 * (keys * (2 * head_dim + 1 + MOST_ROWS) + 16 * MOST_ROWS * 3 + WIDEST * head_dim)


def _arranged(v: InstructionSet) -> Any:
    """`(a, first, tokens, kv_head, scratch)` -> `Text`: keys times scale * log2 e, and values, copied together."""
    f32, i32, lanes, width = v.f32, v.i32, v.LANES, v.FLOAT_TILES * v.LANES
    write = v.unroll_map(
        4, lambda j, rows, by, p: v.store(p + 4 * width * j, v.bitcast(f32, v.tuple_get(rows, j)) * by)
    )

    @v.jitable
    def copy(source, target, n):
        for i in range(0, 4 * n, 4 * lanes):
            v.store(target + i, v.load(f32, source + i))

    @v.jitable
    def clear(target, n):
        for i in range(0, 4 * n, 4 * lanes):
            v.store(target + i, v.zero(f32))

    @v.jitable
    def transpose(source, step, target, dim, by):
        for i in range(0, dim, 4):
            write(v.load_rows(i32, source + 4 * i, step), v.splat(f32, by), target + 4 * width * i)

    def run(a, first, tokens, kv_head, scratch):
        dim, step, count = a.head_dim, 4 * a.kv_heads * a.head_dim, -(-tokens // width) * width
        keys, values = scratch, scratch + 4 * count * dim
        start, stride = values + 4 * count * dim, 4 * count + 64
        spare = start + 4 * count
        at, by = step * first + 4 * dim * kv_head, v.as_f32(a.scale) * v.float32(LOG2_E)
        for key in range(0, count, lanes):
            source, rows_step = a.k + at + step * key, step
            if key + lanes > tokens:  # what is behind the text is not read
                for i in range(lanes):
                    if key + i < tokens:
                        copy(source + step * i, spare + 4 * dim * i, dim)
                    else:
                        clear(spare + 4 * dim * i, dim)
                source, rows_step = spare, 4 * dim
            transpose(source, rows_step, keys + 4 * (key // width * width * dim + key % width), dim, by)
        for key in range(tokens):
            copy(a.v + at + step * key, values + 4 * dim * key, dim)
        clear(values + 4 * dim * tokens, dim * (count - tokens))
        clear(start, count)
        for key in range(tokens, count):
            v.store(start + 4 * key, v.float32(NO_SINK))
        return Text(first, tokens, keys, values, start, spare, stride, spare + MOST_ROWS * stride)

    return v.jitable(run)


def _keys(v: InstructionSet, rows: int) -> Any:
    """`(text, key, q, q_stride, scores, peaks, dim)`: scores of `rows` queries for KEYS keys; their peaks grow."""
    every, loads, starts = _products(v, rows)
    tiles, line = v.FLOAT_TILES, 4 * v.LANES
    store = v.unroll_map(tiles, lambda j, sums, y: v.store(y + line * j, v.tuple_get(sums, j)))
    most = v.unroll_fold(tiles, lambda j, peak, sums: v.maximum(v.tuple_get(sums, j), peak))

    def write(r, sums, y, stride, peaks):
        peak = peaks + line * r
        store(v.tuple_get(sums, r), y + r * stride)
        v.store(peak, most(v.load(v.f32, peak), v.tuple_get(sums, r)))

    write = v.unroll_map(rows, write)

    def run(text, key, q, q_stride, scores, peaks, dim):
        sums, at = starts(loads(text.start + 4 * key)), text.keys + 4 * key * dim
        for i in range(dim):
            sums = every(sums, loads(at), q + 4 * i, q_stride)
            at += line * tiles
        write(sums, scores + 4 * key, text.stride, peaks)

    return v.jitable(run)


def _values(v: InstructionSet, rows: int) -> Any:
    """`(text, i, scores, factors, out, out_stride, dim)`: KEYS numbers from `i` on of `rows` results."""
    every, loads, starts = _products(v, rows)
    tiles, line = v.FLOAT_TILES, 4 * v.LANES
    zeros = v.unroll_map(tiles, lambda j: v.zero(v.f32))
    scaled = v.unroll_map(tiles, lambda j, sums, by, y: v.store(y + line * j, v.tuple_get(sums, j) * by))

    def write(r, sums, y, stride, factors):
        scaled(v.tuple_get(sums, r), v.load_splat(v.f32, factors + 4 * r), y + r * stride)

    write = v.unroll_map(rows, write)

    def run(text, i, scores, factors, out, out_stride, dim):
        sums, at = starts(zeros()), text.values + 4 * i
        for key in range(text.tokens):
            sums = every(sums, loads(at), scores + 4 * key, text.stride)
            at += 4 * dim
        write(sums, out + 4 * i, out_stride, factors)

    return v.jitable(run)


def _products(v: InstructionSet, rows: int) -> tuple[Any, Any, Any]:
    """`(sums, w, x, stride)` -> sums + products of a number of each row with the vectors `w`; `(p)` -> such vectors;
    `(w)` -> sums of all rows that start from them."""
    f32, tiles, line = v.f32, v.FLOAT_TILES, 4 * v.LANES
    times = v.unroll_map(tiles, lambda j, sums, w, x: v.fma(x, v.tuple_get(w, j), v.tuple_get(sums, j)))
    every = v.unroll_map(
        rows, lambda r, sums, w, x, stride: times(v.tuple_get(sums, r), w, v.load_splat(f32, x + r * stride))
    )
    return every, v.unroll_map(tiles, lambda j, p: v.load(f32, p + line * j)), v.unroll_map(rows, lambda r, w: w)


def _weights(v: InstructionSet) -> Any:
    """`(row, count, peaks, factor)`: scores become weights; 1 / their sum is written to `factor`."""
    f32, line, power = v.f32, 4 * v.LANES, power_of_2(v, v.f32, v.i32)

    def run(row, count, peaks, factor):
        peak, total = v.splat(f32, v.reduce_max(v.load(f32, peaks))), v.zero(f32)
        for i in range(0, 4 * count, line):
            weight = power(v.load(f32, row + i) - peak)
            v.store(row + i, weight)
            total = total + weight
        v.store(factor, v.float32(1) / v.reduce_add(total))

    return v.jitable(run)


def _block(v: InstructionSet, n: int) -> Any:
    """`(text, q, stride, out, rows, dim)`: attention of at most MOST_ROWS and at least `n` queries, `n` at once.

    The last of them are computed once more where their number is no multiple of `n`.
    """
    line, width = 4 * v.LANES, v.FLOAT_TILES * v.LANES
    keys_of, values_of, weights = _keys(v, n), _values(v, n), _weights(v)

    def run(text, q, stride, out, rows, dim):
        count, factors = -(-text.tokens // width) * width, text.peaks + line * MOST_ROWS
        for r in range(rows):
            v.store(text.peaks + line * r, v.splat(v.f32, NO_SINK))
        for key in range(0, count, width):
            for first in range(0, rows, n):
                r = min(first, rows - n)
                scores, peaks = text.scores + text.stride * r, text.peaks + line * r
                keys_of(text, key, q + stride * r, stride, scores, peaks, dim)
        for r in range(rows):
            weights(text.scores + text.stride * r, count, text.peaks + line * r, factors + 4 * r)
        for i in range(0, dim, width):
            for first in range(0, rows, n):
                r = min(first, rows - n)
                scores = text.scores + text.stride * r
                values_of(text, i, scores, factors + 4 * r, out + stride * r, stride, dim)

    return v.jitable(run)


@kernel(" ".join(Arguments._fields))
def text_attention(v: InstructionSet) -> Any:
    """out = softmax(scale * q @ k.T) @ v of each text and head, see `Arguments`; texts lie one after the other."""
    most = v.FLOAT_TOKENS
    arranged, several, one = _arranged(v), _block(v, most), _block(v, 1)

    @v.jitable
    def attend(a, text, head, begin, end):
        stride = 4 * a.heads * a.head_dim
        at = stride * text.first + 4 * a.head_dim * head
        for block in range(begin, end, MOST_ROWS):
            t = max(min(block, end - most), begin)
            rows, row = min(MOST_ROWS, end - t), at + stride * t
            if rows >= most:
                several(text, a.q + row, stride, a.out + row, rows, a.head_dim)
            else:
                one(text, a.q + row, stride, a.out + row, rows, a.head_dim)

    def run(counter, ith, nth, *fields):
        a = Arguments(*fields)
        count, scratch, group = v.load_i64(a.tokens), a.scratch + ith * a.scratch_bytes, a.heads // a.kv_heads
        block = a.most if a.heads >= ITEMS * nth else BLOCK
        item, first, before = v.take_work(counter, 1), 0, 0
        while first < count:
            tokens = v.load_i64(a.last_positions + 8 * first) + 1
            blocks = (tokens + block - 1) // block
            if item < before + blocks * a.heads:
                head, part = (item - before) // blocks, (item - before) % blocks
                text = arranged(a, first, tokens, head // group, scratch)
                attend(a, text, head, tokens * part // blocks, tokens * (part + 1) // blocks)
                item = v.take_work(counter, 1)
            else:
                first, before = first + tokens, before + blocks * a.heads

    return run
