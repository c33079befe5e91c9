"""Weights as 16-bit integers in tiles of rows, which are multiplied with Q16 activations.

The integers of a row have one scale for every GROUP, and are as fine as those of activations, see `q16_activations`.

BAND rows lie together, group after group, so that those of a group stay in the L1 cache: a few tiles of LANES rows,
each of which has vectors of pairs of int16 (lane = row), for every four weights the first and the third, then the
second and the fourth; then a vector of scales; then minus the sums of the products of neighbours, int32.
"""

from __future__ import annotations

from typing import Any

from ..blocks.parts import FloatParts, require_kernels
from ..format import Format
from ..jit.kernel import Kernel
from ..simd.instruction_set import InstructionSet
from .interleave import MOST_LANES
from .panels import BAND, set_for_tiles
from .q8_activations import ROUNDER
from .q16_activations import GROUP, LEAST, LENGTH, WIDEST

SPARE_BYTES = (4 * GROUP + 64) * MOST_LANES  # a group as float32, and a block of a format's own tile


def int16_bytes(rows: int, k: int) -> int:
    """Bytes of `rows` rows of `k` weights, of a tile or of any number of bands."""
    return (2 * k + 8 * ((k + GROUP - 1) // GROUP)) * rows


def pack_int16(fmt: type[Format]) -> Kernel:
    """The kernel that writes `rows` rows of `k` weights in `fmt` at `source` to `target`, a band of rows a draw.

    `rows` is a multiple of BAND, `k` of 32. `scratch` holds SPARE_BYTES for each thread. Raises ValueError for a format
    without kernels.
    """
    require_kernels(fmt)
    fields = ("source", "target", "rows", "k", "row_bytes", "scratch")
    return Kernel(f"pack_int16_{fmt.name}", fields, lambda v: _build(v, fmt))


def _build(v: InstructionSet, fmt: type[Format]) -> Any:
    v = set_for_int16(v)
    block, nbytes, lanes = fmt.block, fmt.nbytes, v.LANES
    floats, narrow, bytes_of = _as_floats(v, fmt), _narrow(v), v.jitable(int16_bytes)

    def run(counter, ith, nth, source, target, rows, k, row_bytes, scratch):
        spare, band = scratch + SPARE_BYTES * ith, v.take_work(counter, 1)
        while band < rows // BAND:
            first, tile = source + BAND * row_bytes * band, target + bytes_of(BAND, k) * band
            for at in range(0, k, GROUP):
                n = min(GROUP, k - at)
                for row in range(0, BAND, lanes):
                    floats(first + row_bytes * row + at // block * nbytes, row_bytes, n, spare)
                    narrow(spare, n, tile)
                    tile += bytes_of(lanes, n)
            band = v.take_work(counter, 1)

    return run


def set_for_int16(v: InstructionSet) -> InstructionSet:
    """The set that these products are built with: `v`, or its module for tiles where it multiplies one at a time."""
    return set_for_tiles(v) if v.SUMS or v.FLOAT_TILES == 1 else v


def _as_floats(v: InstructionSet, fmt: type[Format]) -> Any:
    """`(rows, row_bytes, n, out)`: n weights of LANES rows as float32, a vector for each (lane = row)."""
    parts = fmt.kernels(v)
    assert parts.unpack
    unpack, nbytes, width = v.jitable(parts.unpack), fmt.nbytes, 4 * v.LANES
    if isinstance(parts, FloatParts):
        step = parts.step

        def run(rows, row_bytes, n, out):
            for i in range(0, n, step):
                unpack(rows + i * nbytes, row_bytes, out + width * i)

        return v.jitable(run)
    assert parts.signed and parts.scales == 1 and parts.row_min is None and fmt.block == 32
    f32, i32, flipped = v.f32, v.i32, v.FLIP_SIGNED

    def four(j, tile, scale, out):
        bytes_of = v.load(i32, tile + width * j)
        if flipped:  # bytes have 128 added
            bytes_of = bytes_of ^ 0x80808080
        for c in range(4):
            one = v.shift_signed(bytes_of << (24 - 8 * c), 24)
            v.store(out + width * (4 * j + c), v.to_f32(f32, one) * scale)

    every = v.unroll_map(8, four)

    def blocks(rows, row_bytes, n, out):
        tile = out + GROUP * width
        for b in range(n // 32):
            unpack(rows + b * nbytes, row_bytes, tile)
            every(tile, v.load(f32, tile + 8 * width), out + 32 * width * b)

    return v.jitable(blocks)


def _narrow(v: InstructionSet) -> Any:
    """`(floats, n, tile)`: n float32 of LANES rows as pairs of int16, and their scales."""
    f32, i32, i16, width = v.f32, v.i32, v.Vec("i16", 2 * v.LANES), 4 * v.LANES
    nothing = v.unroll_map(4, lambda j: v.zero(f32))
    most_of = v.unroll_fold(4, lambda j, most, p: v.maximum(most, v.absolute(v.load(f32, p + width * j))))

    @v.jitable
    def square(p, inverse, sum):
        part = v.load(f32, p) * inverse  # at most 1
        return v.fma(part, part, sum)

    squares_of = v.unroll_map(4, lambda j, sums, p, inverse: square(p + width * j, inverse, v.tuple_get(sums, j)))

    @v.jitable
    def scale_of(p, n):
        most, sums = v.splat(f32, LEAST), nothing()
        for i in range(0, n, 4):
            most = most_of(most, p + width * i)
        for i in range(0, n, 4):
            sums = squares_of(sums, p + width * i, v.splat(f32, 1.0) / most)
        length = v.sqrt((sums[0] + sums[1]) + (sums[2] + sums[3])) * (1 / LENGTH)
        return most * v.maximum(length, v.splat(f32, 1 / WIDEST))  # what is not finite stays in the length

    @v.jitable
    def rounded(p, inverse):
        return v.bitcast(i32, v.fma(v.load(f32, p), inverse, v.splat(f32, ROUNDER)))

    @v.jitable
    def pair(p, inverse):
        return rounded(p, inverse) & 0xFFFF | rounded(p + 2 * width, inverse) << 16

    def run(floats, n, tile):
        scale, neighbours = scale_of(floats, n), v.zero(i32)
        inverse = v.splat(f32, 1.0) / scale
        for i in range(0, n, 4):
            first, second = pair(floats + width * i, inverse), pair(floats + width * (i + 1), inverse)
            v.store(tile + width // 2 * i, first)
            v.store(tile + width // 2 * i + width, second)
            neighbours = v.dot2(neighbours, v.bitcast(i16, first), v.bitcast(i16, second))
        v.store(tile + n // 2 * width, scale)
        v.store(tile + n // 2 * width + width, v.zero(i32) - neighbours)

    return v.jitable(run)
