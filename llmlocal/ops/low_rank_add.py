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


def tiled(b: NDArray[Any]) -> NDArray[Any]:
    """B (rows, rank) as the kernel reads it, in one stream: (tiles, rank, TILE), with zeros after the last row."""
    import numpy as np

    rows, rank = b.shape
    padded = np.zeros((-(-rows // TILE) * TILE, rank), b.dtype)
    padded[:rows] = b
    return np.ascontiguousarray(padded.reshape(-1, TILE, rank).swapaxes(1, 2))


def low_rank_add(*, half: bool) -> Kernel:
    """The kernel y (tokens, rows) += t[:, first : first + rank] @ B.T: B float16 if `half`, else float32.

    `b` is B (rows, rank) as `tiled` gives it; rows of t have `t_row` values. Each sum begins with y and adds in the
    order of ranks, so its bits do not depend on the number of tokens.
    """
    return Kernel(f"low_rank_add_{'f16' if half else 'f32'}", FIELDS, lambda v: _build(v, half))


def _build(v: InstructionSet, half: bool) -> Any:
    each = 2 if half else 4
    one = v.jitable((lambda b: v.load_f16(b)) if half else (lambda b: v.load_f32(b)))

    def panel_of(tokens: int) -> Any:
        step = TILE if tokens == 1 else TILE // 2  # as many sums as there are registers for
        wide, narrow = _columns(v, half, tokens, step // 8), _columns(v, half, tokens, 1)

        def run(n, first, last, t, t_row, rank, b, y, rows):
            at, t, y = first, t + 4 * t_row * n, y + 4 * rows * n
            while at + step <= last:
                wide(t, t_row, rank, b + each * (at // TILE * TILE * rank + at % TILE), y + 4 * at, rows)
                at += step
            while at + 8 <= last:
                narrow(t, t_row, rank, b + each * (at // TILE * TILE * rank + at % TILE), y + 4 * at, rows)
                at += 8
            while at < last:
                weights = b + each * (at // TILE * TILE * rank + at % TILE)
                for i in range(tokens):
                    total = v.load_f32(y + 4 * (rows * i + at))
                    for r in range(rank):
                        total += v.load_f32(t + 4 * (t_row * i + r)) * one(weights + each * TILE * r)
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


def _columns(v: InstructionSet, half: bool, tokens: int, vectors: int) -> Any:
    """`(t, t_row, rank, b, y, rows)`: `vectors` times 8 columns of y of `tokens` tokens."""
    f32x8, f16x8, size, each = v.f32x8, v.f16x8, tokens * vectors, 2 if half else 4
    eight = v.jitable((lambda b: v.to_f32(f32x8, v.load(f16x8, b))) if half else (lambda b: v.load(f32x8, b)))
    loads = v.unroll_map(size, lambda i, y, row: v.load(f32x8, y + row * (i // vectors) + 32 * (i % vectors)))
    weights = v.unroll_map(vectors, lambda j, b: eight(b + 8 * each * j))
    steps = v.unroll_map(
        size,
        lambda i, sums, w, t, row: v.fma(
            v.tuple_get(w, i % vectors), v.load_splat(f32x8, t + row * (i // vectors)), v.tuple_get(sums, i)
        ),
    )
    stores = v.unroll_map(
        size, lambda i, sums, y, row: v.store(y + row * (i // vectors) + 32 * (i % vectors), v.tuple_get(sums, i))
    )

    def run(t, t_row, rank, b, y, rows):
        sums = loads(y, 4 * rows)
        for r in range(rank):
            sums = steps(sums, weights(b + each * TILE * r), t + 4 * r, 4 * t_row)
        stores(sums, y, 4 * rows)

    return v.jitable(run)
