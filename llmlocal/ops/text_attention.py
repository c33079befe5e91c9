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
WIDEST, MOST_ROWS = 32, 8  # keys and queries that any instruction set multiplies at once, at most
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


def _panel(v: InstructionSet, rows: int) -> Any:
    """`(text, q, q_stride, out, dim)`: attention of `rows` queries, `q_stride` bytes apart, as are those of `out`."""
    f32, lanes, tiles = v.f32, v.LANES, v.FLOAT_TILES
    width = tiles * lanes
    power = power_of_2(v, f32, v.i32)
    loads = v.unroll_map(tiles, lambda j, p: v.load(f32, p + 4 * lanes * j))
    times = v.unroll_map(tiles, lambda j, sums, w, x: v.fma(x, v.tuple_get(w, j), v.tuple_get(sums, j)))
    every = v.unroll_map(
        rows, lambda r, sums, w, x, stride: times(v.tuple_get(sums, r), w, v.load_splat(f32, x + r * stride))
    )
    starts = v.unroll_map(rows, lambda r, start: start)
    hidden = v.unroll_map(rows, lambda r, p: v.store(p + 4 * lanes * r, v.splat(f32, NO_SINK)))
    store = v.unroll_map(tiles, lambda j, sums, y: v.store(y + 4 * lanes * j, v.tuple_get(sums, j)))
    most = v.unroll_fold(tiles, lambda j, peak, sums: v.maximum(v.tuple_get(sums, j), peak))
    scaled = v.unroll_map(tiles, lambda j, sums, by, y: v.store(y + 4 * lanes * j, v.tuple_get(sums, j) * by))

    def write_scores(r, sums, y, stride, peaks):
        peak = peaks + 4 * lanes * r
        store(v.tuple_get(sums, r), y + r * stride)
        v.store(peak, most(v.load(f32, peak), v.tuple_get(sums, r)))

    def write_out(r, sums, y, stride, factors):
        scaled(v.tuple_get(sums, r), v.load_splat(f32, factors + 4 * r), y + r * stride)

    scores_out, values_out = v.unroll_map(rows, write_scores), v.unroll_map(rows, write_out)
    zeros = v.unroll_map(tiles, lambda j: v.zero(f32))

    def weights(r, text, count):
        """Scores of row r become weights; 1 / their sum is kept."""
        row = text.scores + text.stride * r
        peak, total = v.splat(f32, v.reduce_max(v.load(f32, text.peaks + 4 * lanes * r))), v.zero(f32)
        for i in range(0, 4 * count, 4 * lanes):
            weight = power(v.load(f32, row + i) - peak)
            v.store(row + i, weight)
            total = total + weight
        v.store(text.peaks + 4 * (lanes * rows + r), v.float32(1) / v.reduce_add(total))

    weights = v.unroll_map(rows, weights)

    def run(text, q, q_stride, out, dim):
        count = -(-text.tokens // width) * width
        hidden(text.peaks)
        for key in range(0, count, width):
            sums, at = starts(loads(text.start + 4 * key)), text.keys + 4 * key * dim
            for i in range(dim):
                sums = every(sums, loads(at), q + 4 * i, q_stride)
                at += 4 * width
            scores_out(sums, text.scores + 4 * key, text.stride, text.peaks)
        weights(text, count)
        for i in range(0, dim, width):
            sums, at = starts(zeros()), text.values + 4 * i
            for key in range(text.tokens):
                sums = every(sums, loads(at), text.scores + 4 * key, text.stride)
                at += 4 * dim
            values_out(sums, out + 4 * i, q_stride, text.peaks + 4 * lanes * rows)

    return v.jitable(run)


@kernel(" ".join(Arguments._fields))
def text_attention(v: InstructionSet) -> Any:
    """out = softmax(scale * q @ k.T) @ v of each text and head, see `Arguments`; texts lie one after the other."""
    most = v.FLOAT_TOKENS
    arranged, several, one = _arranged(v), _panel(v, most), _panel(v, 1)

    @v.jitable
    def attend(a, text, head, begin, end):
        stride = 4 * a.heads * a.head_dim
        at = stride * text.first + 4 * a.head_dim * head
        q, out, rows = a.q + at, a.out + at, end - begin
        for t in range(begin, end, most if rows >= most else 1):
            if rows >= most:
                row = stride * min(t, end - most)  # the last queries, some of them once more
                several(text, q + row, stride, out + row, a.head_dim)
            else:
                one(text, q + stride * t, stride, out + stride * t, a.head_dim)

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
