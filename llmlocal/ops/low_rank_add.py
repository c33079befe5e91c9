"""The second product of a low-rank change of a matrix (LoRA), added to what the matrix itself gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import Kernel
from ..quant.kernels.panels import in_panels
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PANEL = 4  # tokens that share a weight once it is loaded
TILE = 32  # rows of B that lie together
DRAW, DRAWS = 2 * TILE, 4  # rows that a thread takes at once, and how often it takes some of them for a single token
FIELDS = ("tokens", "t", "t_row", "first", "rank", "b", "y", "rows")


def low_rank_add_reference(
    t: NDArray[np.float64], b: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """y (tokens, rows) + t (tokens, rank) @ b.T for b (rows, rank). Hu et al. 2021, arXiv 2106.09685."""
    return y + t @ b.T


def tiled(b: NDArray[np.float32], *, floats: bool) -> NDArray[np.uint8]:
    """B (rows, rank) float32 as the kernel reads it, in one stream: (tiles, rank, bytes).

    Either TILE float32, or TILE int8 and their scale, float32: x = scale * q. After the last row there are zeros.
    """
    import numpy as np

    rows, rank = b.shape
    padded = np.zeros((-(-rows // TILE) * TILE, rank), np.float32)
    padded[:rows] = b
    tiles = np.ascontiguousarray(padded.reshape(-1, TILE, rank).swapaxes(1, 2))
    if floats:
        return tiles.view(np.uint8)
    scales = np.abs(tiles).max(axis=2, keepdims=True) / np.float32(127)
    quants = np.rint(np.divide(tiles, scales, out=np.zeros_like(tiles), where=scales > 0)).astype(np.int8)
    return np.concatenate([quants.view(np.uint8), scales.view(np.uint8)], axis=2)


def low_rank_add(*, floats: bool) -> Kernel:
    """The kernel y (tokens, rows) += t[:, first : first + rank] @ B.T: B float32 if `floats`, else int8 with scales.

    `b` is B (rows, rank) as `tiled` gives it; rows of t have `t_row` values. Each sum begins with y and adds in the
    order of ranks, so its bits do not depend on the number of tokens.
    """
    return Kernel(f"low_rank_add_{'f32' if floats else 'i8'}", FIELDS, lambda v: _build(v, floats))


def _build(v: InstructionSet, floats: bool) -> Any:
    each, rank_bytes = (4, 4 * TILE) if floats else (1, TILE + 4)
    one = v.jitable((lambda b: v.load_f32(b)) if floats else (lambda b: v.float32(v.load_i8(b))))
    factor = v.jitable(
        (lambda t, tile: v.load_f32(t)) if floats else (lambda t, tile: v.load_f32(t) * v.load_f32(tile + TILE))
    )

    def panel_of(tokens: int) -> Any:
        step = TILE if tokens == 1 else TILE // 2  # as many sums as there are registers for
        wide, narrow = _columns(v, floats, tokens, step // 8), _columns(v, floats, tokens, 1)

        def run(n, first, last, t, t_row, rank, b, y, rows):
            at, t, y = first, t + 4 * t_row * n, y + 4 * rows * n
            while at + step <= last:
                wide(t, t_row, rank, b + at // TILE * rank * rank_bytes, each * (at % TILE), y + 4 * at, rows)
                at += step
            while at + 8 <= last:
                narrow(t, t_row, rank, b + at // TILE * rank * rank_bytes, each * (at % TILE), y + 4 * at, rows)
                at += 8
            while at < last:
                tile = b + at // TILE * rank * rank_bytes
                for i in range(tokens):
                    total = v.load_f32(y + 4 * (rows * i + at))
                    for r in range(rank):
                        of_rank = tile + rank_bytes * r
                        total += factor(t + 4 * (t_row * i + r), of_rank) * one(of_rank + each * (at % TILE))
                    v.store(y + 4 * (rows * i + at), total)
                at += 1

        return run

    panels = in_panels(v, PANEL, panel_of)

    def run(counter, ith, nth, tokens, t, t_row, first, rank, b, y, rows):
        count = v.load_i64(tokens)
        draw = DRAW if count > 1 else max(DRAW, rows // (DRAWS * nth) // TILE * TILE)
        at = v.take_work(counter, draw)
        while at < rows:
            panels(count, at, min(rows, at + draw), t + 4 * first, t_row, rank, b, y, rows)
            at = v.take_work(counter, draw)

    return run


def _columns(v: InstructionSet, floats: bool, tokens: int, vectors: int) -> Any:
    """`(t, t_row, rank, tile, at, y, rows)`: `vectors` times 8 columns of y of `tokens` tokens.

    They begin `at` bytes after the beginning of each rank of the tile.
    """
    f32x8, i32x8, i8x8, size = v.f32x8, v.i32x8, v.Vec("i8", 8), tokens * vectors
    each, rank_bytes = (4, 4 * TILE) if floats else (1, TILE + 4)
    eight = v.jitable(
        (lambda b: v.load(f32x8, b)) if floats else (lambda b: v.to_f32(f32x8, v.widen_signed(i32x8, v.load(i8x8, b))))
    )
    factor = v.jitable(
        (lambda t, tile: v.load_splat(f32x8, t))
        if floats
        else (lambda t, tile: v.load_splat(f32x8, t) * v.load_splat(f32x8, tile + TILE))
    )
    loads = v.unroll_map(size, lambda i, y, row: v.load(f32x8, y + row * (i // vectors) + 32 * (i % vectors)))
    weights = v.unroll_map(vectors, lambda j, b: eight(b + 8 * each * j))
    factors = v.unroll_map(tokens, lambda i, t, row, tile: factor(t + row * i, tile))
    steps = v.unroll_map(
        size,
        lambda i, sums, w, f: v.fma(v.tuple_get(w, i % vectors), v.tuple_get(f, i // vectors), v.tuple_get(sums, i)),
    )
    stores = v.unroll_map(
        size, lambda i, sums, y, row: v.store(y + row * (i // vectors) + 32 * (i % vectors), v.tuple_get(sums, i))
    )

    def run(t, t_row, rank, tile, at, y, rows):
        sums = loads(y, 4 * rows)
        for r in range(rank):
            of_rank = tile + rank_bytes * r
            sums = steps(sums, weights(of_rank + at), factors(t + 4 * r, 4 * t_row, of_rank))
        stores(sums, y, 4 * rows)

    return v.jitable(run)
