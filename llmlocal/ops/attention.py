"""Causal attention over the cache, in pieces of fixed size with a running softmax.

Dao et al. 2022, arXiv 2205.14135. Heads that share keys (GQA) and neighbouring tokens of a sequence are rows of one
small matrix product, so that every key and value is loaded once for all of them. A piece of the cache gives every row a
record: the sum of the values under its weights, the sum of the weights, and the greatest score. A few tokens draw
pieces too, and `attention_merge` joins them; many merge on the way. Both join record by record in order of position,
so a token's result depends neither on the threads nor on its batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import Kernel, float_bits
from ..quant.simd.instruction_set import InstructionSet
from .kv.kind import ALIGN, Kind
from .softmax import Bend, as_they_are, cap, finish, merge, record_bytes, start, weigh

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIECE = 256  # keys of a record
ROWS, MOST = 128, 64  # queries (tokens x heads of a group) that share a piece, and tokens: neighbours see the same keys
FEW = 8  # tokens of a batch whose pieces are drawn one by one
FIELDS = (
    "tokens", "positions", "bases", "q", "keys", "values", "sinks", "out", "heads", "kv_heads", "head_dim", "value_dim",
    "cells", "window", "scale", "scratch", "scratch_bytes", "partials", "pieces",
)  # fmt: skip
MERGE_FIELDS = (
    "tokens", "positions", "sinks", "out", "heads", "kv_heads", "value_dim", "window", "scratch", "scratch_bytes",
    "partials", "pieces",
)  # fmt: skip


def block_tokens(group: int) -> int:
    """Tokens of one work item when `group` heads share a key."""
    return max(1, min(MOST, ROWS // group))


def scratch_bytes(kind: Kind, heads: int, kv_heads: int, head_dim: int, value_dim: int) -> int:
    """Bytes that each thread needs: queries, points twice, and two records of every row."""
    group = heads // kv_heads
    return group * block_tokens(group) * (kind.query_bytes(head_dim) + 8 * PIECE + 2 * record_bytes(value_dim))


def partial_bytes(heads: int, value_dim: int, n_ctx: int) -> int:
    """Bytes of the records of a few tokens: of every head and piece of a context."""
    return FEW * heads * pieces(n_ctx) * record_bytes(value_dim)


def pieces(n_ctx: int) -> int:
    """Pieces of a context."""
    return -(-n_ctx // PIECE)


def attention_meaning(
    q: NDArray[np.float64],
    k: NDArray[np.float64],
    v: NDArray[np.float64],
    window: int | None = None,
    softcap: float = 0.0,
    sinks: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The last tokens of a sequence: q (tokens, heads, head_dim), k (length, kv_heads, head_dim), v (length, kv_heads,
    value_dim) -> (tokens, heads, value_dim). A token sees `window` keys, its own among them.

    Scores become softcap * tanh(score / softcap) (Gemma 2, arXiv 2408.00118); `sinks` (heads,) are scores of a key
    without a value (gpt-oss, arXiv 2508.10925).
    """
    import numpy as np

    tokens, heads, head_dim = q.shape
    k, v = (np.repeat(a, heads // a.shape[1], axis=1) for a in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(head_dim)
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    ahead = np.arange(len(k) - tokens, len(k))[:, None] - np.arange(len(k))[None, :]
    scores[:, (ahead < 0) | (ahead >= (window or len(k)))] = -np.inf
    sink = np.full((heads, 1, 1), -np.inf) if sinks is None else sinks[:, None, None]
    top = np.maximum(scores.max(-1, keepdims=True), sink)
    scores = np.exp(scores - top)
    total = scores.sum(-1, keepdims=True) + np.exp(sink - top)
    out: NDArray[np.float64] = np.einsum("hqk,khd->qhd", scores / total, v)
    return out


def attention(kind: Kind, softcap: float = 0.0) -> Kernel:
    """The kernel for a kind of cache: out (tokens, heads, value_dim) float32 from q (tokens, heads, head_dim).

    `positions` (tokens,) int64 is each token's place in its sequence, `bases` (tokens,) that sequence's first cell, a
    multiple of ALIGN. `sinks` (heads,) float32, NO_SINK for a head without. A token sees the last `window` keys;
    `scale` is a float that multiplies scores. Of at most FEW tokens, only `partials` is written: (kv_heads, pieces,
    FEW * group) records, for `attention_merge`.
    """
    name = f"attention_{kind.name}"
    if not softcap:
        return Kernel(name, FIELDS, lambda v: _build(v, kind, as_they_are(v)))
    return Kernel(f"{name}_cap{float_bits(softcap):x}", FIELDS, lambda v: _build(v, kind, cap(v, softcap)))


def _build(v: InstructionSet, kind: Kind, bend: Bend) -> Any:
    run_of, span, one_run = _run_of(v), _span(v), _one_run(v, kind, bend)

    def run(counter, ith, nth, tokens, positions, bases, q, keys, values, sinks, out, heads, kv_heads, head_dim, value_dim, cells, window, scale, scratch, scratch_bytes, partials, pieces):  # fmt: skip  # noqa: E501
        count, group, mine = v.load_i64(tokens), heads // kv_heads, scratch + ith * scratch_bytes
        some, few = max(1, min(MOST, ROWS // group)), count <= FEW
        blocks = (count + some - 1) // some
        low, high = span(positions, 0, count, window) if few else (0, 1)
        item = v.take_work(counter, 1)
        while item < blocks * kv_heads * (high - low):
            part, h = low + item % (high - low), item // (high - low) % kv_heads
            first = (blocks - 1 - item // ((high - low) * kv_heads)) * some  # the long ones first
            stop = min(count, first + some)
            while first < stop:  # a block may hold several sequences
                last = run_of(bases, first, stop)
                begin, end = span(positions, first, last, window)
                if few:
                    begin, end = max(begin, part), min(end, part + 1)
                if begin < end:
                    one_run(few, first, last, h, begin, end, positions, v.load_i64(bases + 8 * first), q, keys, values, sinks, out, heads, group, head_dim, value_dim, cells, window, v.as_f32(scale), mine, partials, pieces)  # fmt: skip  # noqa: E501
                first = last
            item = v.take_work(counter, 1)

    return run


def _run_of(v: InstructionSet) -> Any:
    """The end of the tokens from `first` on, before `stop`, that belong to one sequence."""

    def run(bases, first, stop):
        last = first + 1
        while last < stop and v.load_i64(bases + 8 * last) == v.load_i64(bases + 8 * first):
            last += 1
        return last

    return v.jitable(run)


def _span(v: InstructionSet) -> Any:
    """The pieces that tokens first .. last - 1 see: number of the first one, and of the one after the last."""

    def run(positions, first, last, window):
        low = high = v.load_i64(positions + 8 * first)
        for t in range(first + 1, last):
            position = v.load_i64(positions + 8 * t)
            low, high = min(low, position), max(high, position)
        return max(low + 1 - window, 0) // PIECE, high // PIECE + 1

    return v.jitable(run)


def _one_run(v: InstructionSet, kind: Kind, bend: Bend) -> Any:
    """Tokens of one sequence by the pieces begin .. end - 1 of it, for the heads that share key head `h`."""
    parts, stretch = kind.parts(v), kind.stretch_bytes
    load_query, scores, mix = parts.load_query, parts.scores, parts.mix
    query_bytes = 2 if kind.as_bytes else 4
    start_row, weigh_row, merge_row, finish_row = start(v), weigh(v, bend), merge(v), finish(v)

    @v.jitable
    def load_rows(q, first, last, h, heads, group, head_dim, width, scale, sinks, queries, states, value_width):
        for row in range((last - first) * group):
            t, head = first + row // group, h * group + row % group
            load_query(q, t, head, heads, head_dim, width, scale, queries + query_bytes * width * row)
            start_row(states + (4 * value_width + 128) * row, value_width, v.load_f32(sinks + 4 * head))

    def run(few, first, last, h, begin, end, positions, base, q, keys, values, sinks, out, heads, group, head_dim, value_dim, cells, window, scale, mine, partials, pieces):  # fmt: skip  # noqa: E501
        width, value_width = -(-head_dim // ALIGN) * ALIGN, -(-value_dim // ALIGN) * ALIGN
        rows, record = (last - first) * group, 4 * value_width + 128
        queries, points = mine, mine + query_bytes * width * rows
        spare = points + 4 * PIECE * rows
        states = spare + 4 * PIECE * rows
        keys += h * cells * (width // ALIGN) * stretch
        values += h * cells * (value_width // ALIGN) * stretch
        load_rows(q, first, last, h, heads, group, head_dim, width, scale, sinks, queries, states, value_width)
        length = v.load_i64(positions + 8 * (last - 1)) + 1
        for piece in range(begin, end):
            at, records = piece * PIECE, states + record * rows
            if few:
                records = partials + record * ((h * pieces + piece) * FEW + first) * group
            count = min(PIECE, (length - at + ALIGN - 1) // ALIGN * ALIGN)
            scores(keys, base + at, width, queries, rows, count, points, 4 * PIECE)
            for r in range(rows):
                seen = v.load_i64(positions + 8 * (first + r // group)) + 1 - at
                weigh_row(points + 4 * PIECE * r, count, seen - window, seen, records + record * r, value_width)
            mix(values, base + at, cells, value_width, points, 4 * PIECE, rows, count, records, record, spare)
            if not few:
                for r in range(rows):
                    seen = v.load_i64(positions + 8 * (first + r // group)) + 1 - at
                    if seen > 0 and seen - window < PIECE:
                        merge_row(states + record * r, records + record * r, value_width)
        if not few:
            for r in range(rows):
                at = heads * (first + r // group) + h * group + r % group
                finish_row(states + record * r, value_width, out + 4 * value_dim * at, value_dim)

    return v.jitable(run)


def _build_merge(v: InstructionSet) -> Any:
    start_row, merge_row, finish_row = start(v), merge(v), finish(v)

    def run(counter, ith, nth, tokens, positions, sinks, out, heads, kv_heads, value_dim, window, scratch, scratch_bytes, partials, pieces):  # fmt: skip  # noqa: E501
        count, group, state = v.load_i64(tokens), heads // kv_heads, scratch + ith * scratch_bytes
        width = -(-value_dim // ALIGN) * ALIGN
        record = 4 * width + 128
        item = v.take_work(counter, 1) if count <= FEW else count * heads
        while item < count * heads:
            t, head = item // heads, item % heads
            position, row = v.load_i64(positions + 8 * t), t * group + head % group
            start_row(state, width, v.load_f32(sinks + 4 * head))
            for piece in range(max(position + 1 - window, 0) // PIECE, position // PIECE + 1):
                at = (head // group * pieces + piece) * FEW * group + row
                merge_row(state, partials + record * at, width)
            finish_row(state, width, out + 4 * value_dim * item, value_dim)
            item = v.take_work(counter, 1)

    return run


# Joins what `attention` left of a few tokens: out (tokens, heads, value_dim); nothing to do after more.
attention_merge = Kernel("attention_merge", MERGE_FIELDS, _build_merge)
