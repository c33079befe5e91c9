"""Products of weights of 16-bit floats and N16 activations: a tile of rows by many tokens, weights as 16-bit integers.

The factor that makes integers of a block of weights is a power of two, so those of them that are not small beside the
block's norm are multiplied exactly as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...blocks.parts import FloatParts
from ...format import Format
from ...simd.instruction_set import InstructionSet
from ..panels import BAND, PASS_TOKENS, fetch_rows
from .n16_activations import BLOCK, LINE
from .panel import block_bytes, panels_of_tiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEPTH = 512  # weights of a row that are unpacked at once
MAGIC = 1.5 * 2**23  # the last bit of a float32 of this size is worth 1


def integers_reference(weights: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Weights (rows, k) -> what they are multiplied as: integers (rows, k), scales (rows, k / 64)."""
    import numpy as np

    groups = weights.reshape(len(weights), -1, BLOCK)
    norms = (groups * groups).sum(-1, dtype=np.float32)
    powers = (156 - (norms.view(np.int32) >> 23)) >> 1
    return np.rint(np.ldexp(groups, powers[..., None])).astype(np.int16).reshape(weights.shape), np.ldexp(
        np.float32(1), -powers
    )


def tiles_dot(v: InstructionSet, fmt: type[Format], parts: FloatParts) -> Any:
    """`(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch)`: tiles of LANES rows by all tokens.

    Strides are in bytes. Few tokens at once run over all tiles, so that their activations come from the L2 cache.
    """
    nbytes, lanes, fetch, size, band = fmt.nbytes, v.LANES, fetch_rows(v), block_bytes(v), BAND // v.LANES
    fill, panels = _fill(v, nbytes, parts), panels_of_tiles(v)
    together = PASS_TOKENS // v.FLOAT_TOKENS * v.FLOAT_TOKENS

    @v.jitable
    def unpack(weights, row_bytes, at, blocks, tiles, scratch, spare):
        for n in range(tiles):
            rows = weights + lanes * row_bytes * n + at * nbytes
            ahead = rows + lanes * row_bytes if n + 1 < tiles else weights + (at + BLOCK * blocks) * nbytes
            for g in range(blocks):
                fetch(ahead, row_bytes, BLOCK * nbytes * g, BLOCK * nbytes * (g + 1))
                fill(rows + BLOCK * nbytes * g, row_bytes, scratch + size * (blocks * n + g), spare)

    def dot_tiles(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch):
        next_y = y_stride if tokens > together else 0
        for at in range(0, k, DEPTH):
            blocks = min(DEPTH, k - at) // BLOCK
            unpack(weights, row_bytes, at, blocks, tiles, scratch, scratch + size * blocks * tiles)
            for t in range(0, tokens, together):
                few, line = min(together, tokens - t), x + t * x_stride + at // BLOCK * LINE
                for n in range(0, tiles, band):
                    out, some = y + t * y_stride + 4 * lanes * n, min(band, tiles - n)
                    panels(few, line, x_stride, blocks, at, out, y_stride, next_y, some, scratch + size * blocks * n)

    return v.jitable(dot_tiles)


def _fill(v: InstructionSet, nbytes: int, parts: FloatParts) -> Any:
    """`(rows, row_bytes, tile, spare)`: a block of LANES rows as integers whose norm is below 2^15, and their scales.

    Norms of all rows come first, so that no conversion waits for its own. `spare` is room for all integers, row by row.
    """
    lanes, vectors, vector, row = v.LANES, BLOCK // 8, 4 * v.LANES, v.jitable(parts.row)
    f32, i32, f32x8, i32x16 = v.f32, v.i32, v.f32x8, v.Vec("i32", 16)
    eight = v.jitable(lambda p, j: row(p + 8 * nbytes * j))

    def square(j, sums, p):
        first, second = eight(p, 2 * j), eight(p, 2 * j + 1)
        return v.fma(first, first, sums[0]), v.fma(second, second, sums[1])

    squares = v.unroll_fold(vectors // 2, square)

    def convert(j, p, factor, out):
        magic = v.splat(f32x8, MAGIC)
        wide = v.join(v.fma(eight(p, 2 * j), factor, magic), v.fma(eight(p, 2 * j + 1), factor, magic))
        v.store(out + 32 * j, v.truncate(v.i16x16, v.bitcast(i32x16, wide)))

    integers = v.unroll_map(vectors // 2, convert)

    def run(rows, row_bytes, tile, spare):
        scales, integers_at = tile + 2 * BLOCK * lanes, spare + vector
        for r in range(lanes):
            first, second = squares((v.zero(f32x8), v.zero(f32x8)), rows + row_bytes * r)
            v.store(scales + 4 * r, v.reduce_add(first + second))
        v.forget_memory()
        norms = v.load(f32, scales)
        powers = v.shift_signed(v.splat(i32, 156) - (v.bitcast(i32, norms) >> 23), 1) << 23  # norm * 4^power < 2^30
        v.store(spare, v.splat(i32, 127 << 23) + powers)
        invisible = v.bitcast(f32, v.splat(i32, 127 << 23) - powers)
        v.store(scales, v.fma(norms, v.zero(f32), invisible))  # what is not finite stays visible
        v.forget_memory()
        for r in range(lanes):
            integers(rows + row_bytes * r, v.load_splat(f32x8, spare + 4 * r), integers_at + 2 * BLOCK * r)
        for g in range(BLOCK // 8):
            quads = v.load_rows(i32, integers_at + 16 * g, 2 * BLOCK)
            for j in range(4):
                v.store(tile + vector * (4 * g + j), quads[j])

    return v.jitable(run)
