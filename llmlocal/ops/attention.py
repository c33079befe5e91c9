"""Causal attention over the cache, in pieces of fixed size with a running softmax.

Dao et al. 2022, arXiv 2205.14135. Heads that share keys (GQA) and neighbouring tokens of a sequence are rows of one
small matrix product, so that every key and value is loaded once for all of them. A piece of the cache is unpacked and
multiplied like weights are. Pieces are merged in order of position, so nothing depends on the number of threads.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..quant import gemm_float
from ..quant.format import Format
from ..quant.jit import Kernel, float_bits
from .exp import exp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIECE = 128  # keys of one softmax step
ROWS = 64  # queries (tokens x heads of a group) that share a piece
ALIGN = 16  # cache rows are padded to whole vectors; so is the number of cells
NO_SINK = -3.0e38  # its weight is 0 beside any score
FIELDS = (
    "tokens", "positions", "bases", "q", "keys", "values", "sinks", "out",
    "heads", "kv_heads", "head_dim", "value_dim", "cells", "window", "scale", "scratch", "scratch_bytes",
)  # fmt: skip


def padded(head_dim: int) -> int:
    """Values of a cache row of one head."""
    return -(-head_dim // ALIGN) * ALIGN


def block_tokens(group: int) -> int:
    """Tokens of one work item when `group` heads share a key."""
    return max(1, ROWS // group)


def scratch_bytes(heads: int, kv_heads: int, head_dim: int, value_dim: int) -> int:
    """Bytes that each thread needs: queries, outputs, scores, a tile, and maximum and sum of every row."""
    group, width, value_width = heads // kv_heads, padded(head_dim), padded(value_dim)
    rows = group * block_tokens(group)
    return 4 * (rows * (width + value_width + PIECE + 2) + 16 * max(width, PIECE) + 64)


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


def attention(fmt: type[Format], softcap: float = 0.0) -> Kernel:
    """The kernel for a cache in `fmt`: out (tokens, heads, value_dim) float32 from q (tokens, heads, head_dim).

    `positions` (tokens,) int64 is each token's place in its sequence, `bases` (tokens,) that sequence's first cell.
    `keys` are (kv_heads, cells, padded(head_dim)), `values` (kv_heads, cells, padded(value_dim)); `sinks` (heads,)
    float32, NO_SINK for a head without. A token sees the last `window` keys; `scale` is a float that multiplies scores.
    """
    if not softcap:
        return Kernel(f"attention_{fmt.name}", FIELDS, lambda v: _build(v, fmt, _as_they_are(v)))
    return Kernel(
        f"attention_{fmt.name}_cap{float_bits(softcap):x}", FIELDS, lambda v: _build(v, fmt, _cap(v, softcap))
    )


def _as_they_are(v: ModuleType) -> Any:
    return v.jitable(lambda points, count: None)


def _cap(v: ModuleType, softcap: float) -> Any:
    """points (count,) become softcap * tanh(points / softcap); tanh x = 1 - 2 / (e^2x + 1)."""
    f32, power = v.f32, exp(v, v.f32, v.i32)
    double, cap, less = 2 / softcap, v.float32(softcap), v.float32(-2 * softcap)

    def run(points, count):  # type: ignore[no-untyped-def]
        for i in range(0, count, v.LANES):
            e = power(v.load(f32, points + 4 * i) * double)
            v.store(points + 4 * i, v.splat(f32, less) / (e + 1.0) + cap)

    return v.jitable(run)


def _build(v: ModuleType, fmt: type[Format], bend: Any) -> Any:
    load_queries, start_rows, softmax, finish = _load_queries(v), _start_rows(v), _softmax(v, bend), _finish(v)
    scores, mix, nbytes, lanes = _scores(v, fmt), _mix(v, fmt), fmt.nbytes, v.LANES

    @v.jitable
    def one_block(first, last, h, positions, base, q, keys, values, sinks, out, heads, group, head_dim, value_dim, cells, window, scale, mine):  # type: ignore[no-untyped-def]  # fmt: skip  # noqa: E501
        width, value_width = -(-head_dim // ALIGN) * ALIGN, -(-value_dim // ALIGN) * ALIGN
        rows = (last - first) * group
        queries, sums = mine, mine + 4 * width * rows
        points = sums + 4 * value_width * rows
        peaks = points + 4 * PIECE * rows
        tile = (peaks + 8 * rows + 63) // 64 * 64
        load_queries(q, first, last, h, heads, group, head_dim, width, scale, queries)
        start_rows(sums, value_width, sinks + 4 * h * group, group, rows, peaks)
        begin, end = v.load_i64(positions + 8 * first) + 1 - window, v.load_i64(positions + 8 * (last - 1)) + 1
        row_bytes, value_bytes, cell = width * nbytes, value_width * nbytes, h * cells + base
        for piece in range(max(begin, 0) // PIECE * PIECE, end, PIECE):
            count = min(PIECE, (end - piece + lanes - 1) // lanes * lanes)
            scores(keys + (cell + piece) * row_bytes, row_bytes, width, queries, rows, count, points, tile)
            softmax(points, rows, group, count, piece, positions + 8 * first, window, peaks, sums, value_width)
            mix(values + (cell + piece) * value_bytes, value_bytes, value_width, points, rows, count, sums, tile)
        finish(sums, peaks, first, last, h, heads, group, value_dim, value_width, out)

    def run(counter, ith, nth, tokens, positions, bases, q, keys, values, sinks, out, heads, kv_heads, head_dim, value_dim, cells, window, scale, scratch, scratch_bytes):  # type: ignore[no-untyped-def]  # fmt: skip  # noqa: E501
        count, group, mine = v.load_i64(tokens), heads // kv_heads, scratch + ith * scratch_bytes
        some = max(1, ROWS // group)
        blocks = (count + some - 1) // some
        item = v.draw(counter, 1)
        while item < blocks * kv_heads:
            first, h = (blocks - 1 - item // kv_heads) * some, item % kv_heads  # the long ones first
            end = min(count, first + some)
            while first < end:  # a block may hold several sequences
                base, last = v.load_i64(bases + 8 * first), first + 1
                while last < end and v.load_i64(bases + 8 * last) == base:
                    last += 1
                one_block(first, last, h, positions, base, q, keys, values, sinks, out, heads, group, head_dim, value_dim, cells, window, v.as_f32(scale), mine)  # fmt: skip  # noqa: E501
                first = last
            item = v.draw(counter, 1)

    return run


def _load_queries(v: ModuleType) -> Any:
    """Rows (token, head of the group) of queries, scaled, padded with 0."""

    def run(q, first, last, h, heads, group, head_dim, width, scale, queries):  # type: ignore[no-untyped-def]
        row = 0
        for t in range(first, last):
            for g in range(group):
                source = q + 4 * head_dim * (heads * t + h * group + g)
                target = queries + 4 * width * row
                for i in range(head_dim):
                    v.store(target + 4 * i, v.load_f32(source + 4 * i) * scale)
                for i in range(head_dim, width):
                    v.store(target + 4 * i, v.float32(0))
                row += 1

    return v.jitable(run)


def _start_rows(v: ModuleType) -> Any:
    """Every row's sums are 0; its maximum and sum of weights those of the head's sink alone."""
    f32x8 = v.f32x8

    def run(sums, width, sinks, group, rows, peaks):  # type: ignore[no-untyped-def]
        for i in range(0, width * rows, 8):
            v.store(sums + 4 * i, v.zero(f32x8))
        for r in range(rows):
            v.store(peaks + 8 * r, v.load_f32(sinks + 4 * (r % group)))
            v.store(peaks + 8 * r + 4, v.float32(1))

    return v.jitable(run)


def _scores(v: ModuleType, fmt: type[Format]) -> Any:
    """points (rows, PIECE) = queries (rows, width) times `count` keys; count is whole vectors."""
    parts = fmt.kernels(v)
    unpack, step, nbytes, lanes, many = v.jitable(parts.unpack), parts.step, fmt.nbytes, v.LANES, v.TOKENS
    panel_many, panel_one = gemm_float.panel(v, many), gemm_float.panel(v, 1)

    def run(keys, row_bytes, width, queries, rows, count, points, tile):  # type: ignore[no-untyped-def]
        for key in range(0, count, lanes):
            for i in range(0, width, step):
                unpack(keys + key * row_bytes + i * nbytes, row_bytes, tile + 4 * lanes * i)
            r = 0
            while r + many <= rows:
                panel_many(
                    tile, width, queries + 4 * width * r, 4 * width, points + 4 * (PIECE * r + key), 4 * PIECE, 0
                )
                r += many
            while r < rows:
                panel_one(tile, width, queries + 4 * width * r, 4 * width, points + 4 * (PIECE * r + key), 4 * PIECE, 0)
                r += 1

    return v.jitable(run)


def _mix(v: ModuleType, fmt: type[Format]) -> Any:
    """sums (rows, width) += points (rows, PIECE) times `count` values."""
    parts = fmt.kernels(v)
    row, nbytes, lanes, many = v.jitable(parts.row), fmt.nbytes, v.LANES, v.TOKENS
    panel_many, panel_one = gemm_float.panel(v, many), gemm_float.panel(v, 1)

    def run(values, row_bytes, width, points, rows, count, sums, tile):  # type: ignore[no-untyped-def]
        for i in range(0, width, lanes):
            for key in range(count):
                for j in range(0, lanes, 8):
                    v.store(tile + 4 * (lanes * key + j), row(values + key * row_bytes + (i + j) * nbytes))
            r = 0
            while r + many <= rows:
                panel_many(tile, count, points + 4 * PIECE * r, 4 * PIECE, sums + 4 * (width * r + i), 4 * width, 1)
                r += many
            while r < rows:
                panel_one(tile, count, points + 4 * PIECE * r, 4 * PIECE, sums + 4 * (width * r + i), 4 * width, 1)
                r += 1

    return v.jitable(run)


def _softmax(v: ModuleType, bend: Any) -> Any:
    """Points of a piece become weights under the running maximum, unseen keys' 0; sums are scaled along."""
    f32, power, lanes = v.f32, exp(v, v.f32, v.i32), v.LANES
    first_lane, minus = v.slice_of(0, 1), v.float32(NO_SINK)

    @v.jitable
    def one_row(points, count, begin, end, peak, sums, width):  # type: ignore[no-untyped-def]
        bend(points, count)
        for i in range(min(begin, count)):
            v.store(points + 4 * i, minus)
        for i in range(max(end, 0), count):
            v.store(points + 4 * i, minus)
        before = v.load_f32(peak)
        top = v.splat(f32, before)
        for i in range(0, count, lanes):
            top = v.maximum(v.load(f32, points + 4 * i), top)
        now = v.greatest(top)
        total = v.zero(f32)
        for i in range(0, count, lanes):
            weight = power(v.load(f32, points + 4 * i) - v.splat(f32, now))
            v.store(points + 4 * i, weight)
            total = total + weight
        shrink = v.total(first_lane(power(v.splat(f32, before - now))))
        v.store(peak, now)
        v.store(peak + 4, v.load_f32(peak + 4) * shrink + v.total(total))
        for i in range(0, width, lanes):
            v.store(sums + 4 * i, v.load(f32, sums + 4 * i) * shrink)

    def run(points, rows, group, count, piece, positions, window, peaks, sums, width):  # type: ignore[no-untyped-def]
        for r in range(rows):
            end = v.load_i64(positions + 8 * (r // group)) + 1 - piece
            one_row(points + 4 * PIECE * r, count, end - window, end, peaks + 8 * r, sums + 4 * width * r, width)

    return v.jitable(run)


def _finish(v: ModuleType) -> Any:
    def run(sums, peaks, first, last, h, heads, group, head_dim, width, out):  # type: ignore[no-untyped-def]
        row = 0
        for t in range(first, last):
            for g in range(group):
                scale = v.float32(1) / v.load_f32(peaks + 8 * row + 4)
                target = out + 4 * head_dim * (heads * t + h * group + g)
                for i in range(head_dim):
                    v.store(target + 4 * i, v.load_f32(sums + 4 * (width * row + i)) * scale)
                row += 1

    return v.jitable(run)
