"""Matrix products from a format's parts: one row at a time for a single token, tiles of rows for a batch.

A kernel takes rows from stretches of its threads, so any number of them may run it at once; the result does not depend
on which thread computes a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..blocks.parts import FloatParts, IntegerParts, float_activations, require_kernels
from ..format import Format
from ..jit.kernel import Kernel
from ..simd.few_tokens import FEW_TOKENS, FewTokens
from ..simd.instruction_set import InstructionSet
from ..simd.stretches import counters_at, next_piece
from .groups.group_records import GROUP_TOKENS, GroupRecords
from .panels import BAND, PASS_TOKENS, SUM_BYTES, TILE_BYTES, in_panels, set_for_tiles
from .q8_activations import q8_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIELDS = ("tokens", "weights", "x", "y", "rows", "k", "row_bytes", "y_stride", "scratch")
ROWS, MAX_BATCH_ROWS, BATCH_DRAWS = 64, 128, 4  # of a batch: rows that a thread takes at once, at most, and how often
ROW_DRAWS, MAX_ROWS = 8, 256  # of a single token: how often, and rows at most; slow cores end soon after fast ones then
BEGIN = 2048  # bytes of those rows that are prefetched before the first is used
TILED_TOKENS = GROUP_TOKENS  # in batches of at least so many, every set multiplies every format in one way
ANY_NUMBER = 1 << 30
SCRATCH_BYTES = TILE_BYTES + SUM_BYTES  # of each thread


def matmul(fmt: type[Format], *, interleaved: bool = False, groups: GroupRecords | None = None) -> Kernel:
    """The kernel y (tokens, rows) = x (tokens, k) @ weights (rows, k).T for weights in `fmt`.

    `tokens` is the address of their number; `x` is float32 (tokens, k) where `float_activations(fmt)`, else the Q8
    records of `q8_activations`; `y` is float32, `y_stride` floats from token to token; `scratch` holds SCRATCH_BYTES
    for each thread. `interleaved` weights lie in tiles (see `interleave`), which begin at multiples of LANES bytes.
    `groups`: from GROUP_TOKENS tokens on, `x` is these records (see `group_records`), and `rows` is a multiple of
    MOST_LANES. Raises ValueError for a format without kernels.
    """
    require_kernels(fmt)
    build, name = _build_interleaved if interleaved else _build, f"matmul_{fmt.name}"
    name += ("_interleaved" if interleaved else "") + (f"_{groups.name}" if groups else "")
    return Kernel(name, FIELDS, lambda v: build(v, fmt, groups), stretches=True)


def matmul_reference(weights: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Dequantized weights (rows, k), activations (tokens, k) -> what `matmul` computes, (tokens, rows) float64."""
    import numpy as np

    return x.astype(np.float64) @ weights.astype(np.float64).T


def float_bytes(k: int) -> int:
    """Bytes of a row of `k` float32."""
    return 4 * k


def _batch_rows(rows: int, nth: int, tokens: int) -> int:
    """How many rows a thread takes at once in a batch: the more, the less often activations are read again.

    Of few tokens as many as leave the threads equal shares: 576 rows are nine times ROWS, five of them for one of two.
    """
    if tokens <= PASS_TOKENS:
        whole, half = -(-rows // (ROWS * nth)) * ROWS, -(-rows // (BAND * nth)) * BAND
        return ROWS if whole <= half else BAND
    return max(ROWS, min(MAX_BATCH_ROWS, rows // (BATCH_DRAWS * nth) // BAND * BAND))


def _build(v: InstructionSet, fmt: type[Format], groups: GroupRecords | None) -> Any:
    return over_rows(v, fmt, len(FIELDS), rows_by_tokens(v, fmt, groups))


def over_rows(v: InstructionSet, fmt: type[Format], fields: int, stretch: Any) -> Callable[..., None]:
    """The body of a kernel of so many fields, the first of which are FIELDS: `stretch` on the rows that a thread takes.

    That is a function as `rows_by_tokens` makes it; `x` may be whatever it reads.
    """
    few, batch_rows = few_tokens(v.FEW_TOKENS, fmt), v.jitable(_batch_rows)
    following, counters = next_piece(v), counters_at(fields)

    def run(counter, ith, nth, tokens, weights, x, y, rows, k, row_bytes, y_stride, scratch):
        count, tile = v.load_i64(tokens), scratch + SCRATCH_BYTES * ith
        draw = batch_rows(rows, nth, count) if count > few else max(v.LANES, min(MAX_ROWS, rows // (ROW_DRAWS * nth)))
        pieces = (rows + draw - 1) // draw
        piece, turn = following(counter + counters, ith, nth, pieces, 0)
        while piece < pieces:
            first = draw * piece
            for line in range(0, BEGIN, 64):  # all at once: a hardware prefetcher starts with a few lines
                v.prefetch(weights + row_bytes * first + line)
            last = min(rows, first + draw)
            stretch(weights, row_bytes, first, last, x, k, count, count > few, y, y_stride, tile)
            piece, turn = following(counter + counters, ith, nth, pieces, turn)

    return run


def _build_interleaved(v: InstructionSet, fmt: type[Format], groups: GroupRecords | None) -> Any:
    from .gemm_interleaved import tiles_by_tokens

    v = set_for_tiles(v)
    dot, x_stride, lanes = tiles_by_tokens(v, fmt, fmt.kernels(v), groups), _x_stride(v, fmt, groups), v.LANES
    following, counters = next_piece(v), counters_at(len(FIELDS))
    batch_rows = v.jitable(_batch_rows)

    def run(counter, ith, nth, tokens, weights, x, y, rows, k, row_bytes, y_stride, scratch):
        count, tile = v.load_i64(tokens), scratch + SCRATCH_BYTES * ith
        draw = (
            batch_rows(rows, nth, count)
            if count > 1
            else max(lanes, min(MAX_ROWS, rows // (ROW_DRAWS * nth) // lanes * lanes))
        )
        pieces = (rows + draw - 1) // draw
        piece, turn = following(counter + counters, ith, nth, pieces, 0)
        while piece < pieces:
            first = draw * piece
            tiles, at = (min(rows, first + draw) - first) // lanes, weights + row_bytes * first
            dot(at, row_bytes, k, x, x_stride(k, count), count, y + 4 * first, 4 * y_stride, tiles, tile)
            piece, turn = following(counter + counters, ith, nth, pieces, turn)

    return run


def few_tokens(few: FewTokens, fmt: type[Format]) -> int:
    """The most tokens for which rows are read one by one, as for a single one, by the sizes of an instruction set."""
    return few.floats if float_activations(fmt) else few.integers


def same_bits(isa: str, fmt: type[Format], *, interleaved: bool = False, groups: bool = False) -> int:
    """The most tokens whose products have the same bits together as each has alone: in interleaved tiles, any number.

    With `groups`, below GROUP_TOKENS. Imports no Numba.
    """
    tiled = GROUP_TOKENS - 1 if groups else ANY_NUMBER
    return tiled if interleaved else few_tokens(FEW_TOKENS[isa], fmt)


def _x_stride(v: InstructionSet, fmt: type[Format], groups: GroupRecords | None) -> Any:
    """`(k, tokens)` -> bytes from one token's activations to the next."""
    own = v.jitable(float_bytes if float_activations(fmt) else q8_bytes)
    if not groups:
        return v.jitable(lambda k, tokens: own(k))
    many = v.jitable(groups.nbytes)
    return v.jitable(lambda k, tokens: many(k) if tokens >= GROUP_TOKENS else own(k))


def rows_by_tokens(v: InstructionSet, fmt: type[Format], groups: GroupRecords | None = None) -> Any:
    """`(weights, row_bytes, first, last, x, k, tokens, tiled, y, y_stride, scratch)`: rows `first` to `last` - 1.

    A product's sum has another order in tiles than row by row; it does not depend on the number of tokens.
    """
    from . import gemm_float, gemm_integer
    from .groups import gemm_groups

    x_bytes = _x_stride(v, fmt, groups)
    if not (float_activations(fmt) and v.FLOAT_TILES > 1):  # which are several tiles of the set itself
        v = set_for_tiles(v)
    families: dict[type, Any] = {IntegerParts: gemm_integer, FloatParts: gemm_float}
    parts = fmt.kernels(v)
    family = families[type(parts)]
    row_dot, lanes = row_panels(v, family.row_dots(v, fmt, parts)), v.LANES
    tiles_dot = family.tiles_dot(v, fmt, parts)
    if groups:
        unpack = gemm_integer.row_unpack(v, fmt, parts)
        tiles_dot = _by_tokens(v, tiles_dot, gemm_groups.tiles_dot(v, fmt, unpack, groups.products(v, parts)))

    def run(weights, row_bytes, first, last, x, k, tokens, tiled, y, y_stride, scratch):
        x_stride = x_bytes(k, tokens)
        if tiled:  # whole tiles here, the rows that are left one by one below
            tiles, at, out = (last - first) // lanes, weights + first * row_bytes, y + 4 * first
            tiles_dot(at, row_bytes, k, x, x_stride, tokens, out, 4 * y_stride, tiles, scratch)
            first += lanes * tiles
        for r in range(first, last):
            row_dot(tokens, weights + r * row_bytes, x, x_stride, k, y + 4 * r, 4 * y_stride, scratch)

    return v.jitable(run)


def _by_tokens(v: InstructionSet, few: Any, many: Any) -> Any:
    """Products as `gemm_integer.tiles_dot`: `many` from GROUP_TOKENS tokens on, else `few`."""

    def run(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch):
        if tokens >= GROUP_TOKENS:
            many(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch)
        else:
            few(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch)

    return v.jitable(run)


def row_panels(v: InstructionSet, row_dot_of: Callable[[int], Any]) -> Any:
    """`(tokens, weights, x, x_stride, k, y, y_stride, scratch)`: one row by all tokens.

    It is read from memory once; for the second panel of tokens it is in the cache.
    """

    def panel_of(count: int) -> Any:
        dot = row_dot_of(count)

        def run(t, weights, x, x_stride, k, y, y_stride, scratch):
            dot(weights, x + t * x_stride, x_stride, k, y + t * y_stride, y_stride, scratch)

        return run

    return in_panels(v, v.FEW_TOKENS.row_tokens, panel_of)
