"""Products of matrices of one shape, each with the rows of a batch that were grouped for it: mixtures of experts.

Only the matrices that some row was grouped for are read. Threads take a range of one matrix's rows at a time;
the result does not depend on which thread computes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..blocks.parts import float_activations, require_kernels
from ..format import Format
from ..jit.kernel import Kernel
from ..simd.instruction_set import InstructionSet
from ..simd.stretches import counters_at, next_piece
from .matmul import MAX_ROWS, ROW_DRAWS, ROWS, SCRATCH_BYTES, few_tokens, float_bytes, rows_by_tokens
from .panels import set_for_tiles
from .q8_activations import q8_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIELDS = ("tokens", "groups", "matrices", "x", "y", "rows", "k", "row_bytes", "scratch")
GROUP = 24  # bytes of a group: int64 number of the matrix, first row of x, number of rows


def matmul_grouped(fmt: type[Format], *, interleaved: bool = False) -> Kernel:
    """The kernel y (grouped, rows) = x (grouped, k) @ the matrix (rows, k) of each one's group, transposed.

    `groups` are int64: their number, then of each its matrix, its first row of x and how many. `matrices` are
    the addresses of all matrices, int64. `tokens` is the address of the batch's size, which decides how many rows a
    thread takes at once, and whether in tiles; the rest is as for `matmul`. The rows of `interleaved` matrices are
    whole tiles, which begin at multiples of LANES bytes.

    Raises ValueError for a format without kernels.
    """
    require_kernels(fmt)
    name = f"matmul_grouped_{fmt.name}"
    if interleaved:
        name += "_interleaved"
    stretch_of = _interleaved_stretch if interleaved else rows_by_tokens
    return Kernel(name, FIELDS, lambda v: _build(v, fmt, stretch_of(v, fmt)), stretches=True)


def matmul_grouped_reference(
    weights: NDArray[np.float32], x: NDArray[np.float32], groups: list[tuple[int, int, int]]
) -> NDArray[np.float64]:
    """Dequantized weights (matrices, rows, k), activations (grouped, k) -> (grouped, rows) in float64."""
    import numpy as np

    parts = [x[at : at + n].astype(np.float64) @ weights[matrix].astype(np.float64).T for matrix, at, n in groups]
    return np.concatenate(parts)


def _interleaved_stretch(v: InstructionSet, fmt: type[Format]) -> Any:
    """As `rows_by_tokens`, of rows in tiles: `first` and `last` are multiples of LANES."""
    from .gemm_interleaved import tiles_by_tokens

    v = set_for_tiles(v)
    dot, x_bytes, lanes = tiles_by_tokens(v, fmt, fmt.kernels(v), None), v.jitable(q8_bytes), v.LANES

    def run(weights, row_bytes, first, last, x, k, tokens, tiled, y, y_stride, scratch):
        at, out, tiles = weights + first * row_bytes, y + 4 * first, (last - first) // lanes
        dot(at, row_bytes, k, x, x_bytes(k), tokens, out, 4 * y_stride, tiles, scratch)

    return v.jitable(run)


def _build(v: InstructionSet, fmt: type[Format], stretch: Any) -> Any:
    few, lanes = few_tokens(v.FEW_TOKENS, fmt), set_for_tiles(v).LANES
    x_bytes = v.jitable(float_bytes if float_activations(fmt) else q8_bytes)
    following, counters = next_piece(v), counters_at(len(FIELDS))

    def run(counter, ith, nth, tokens, groups, matrices, x, y, rows, k, row_bytes, scratch):
        count, tile = v.load_i64(groups), scratch + SCRATCH_BYTES * ith
        alone = max(lanes, min(MAX_ROWS, count * rows // (ROW_DRAWS * nth)) // lanes * lanes)
        tiled = v.load_i64(tokens) > few  # by the whole batch: a token's sums do not depend on who shares its expert
        draw = ROWS if tiled else alone
        stretches = (rows + draw - 1) // draw
        item, turn = following(counter + counters, ith, nth, count * stretches, 0)
        while item < count * stretches:
            group, first = groups + 8 + GROUP * (item // stretches), item % stretches * draw
            matrix, at, n = v.load_i64(group), v.load_i64(group + 8), v.load_i64(group + 16)
            mine, last = v.load_i64(matrices + 8 * matrix), min(rows, first + draw)
            own, out = x + at * x_bytes(k), y + 4 * at * rows
            stretch(mine, row_bytes, first, last, own, k, n, tiled, out, rows, tile)
            item, turn = following(counter + counters, ith, nth, count * stretches, turn)

    return run
