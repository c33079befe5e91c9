"""Blocks of codebook formats as bytes: what each stores in its own way is laid out alike, then vectors are looked up.

`prepare` of such a format writes, at INDICES, the number of every vector in its codebook, uint16, and at MARKS a byte
for every eight values: their signs, or what is added to them. It does so for a whole block at once; a look-up of eight
values by itself would spend more on their index than on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..scale_search.codebook import INDICES, MARKS
from ..simd.instruction_set import InstructionSet
from .parts import IntegerParts, Part, of_group

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ELEMENTS = {4: "i32", 8: "i64"}


def signed_parts(
    v: InstructionSet, book: NDArray[np.int8], bits: int, prepare: Part, columns: Part, scales: int
) -> IntegerParts:
    """Vectors of magnitudes below 2^bits; marks are sign bits, the lowest that of the first value."""
    look_up = _look_up(v, book)

    def minus(fields, g):
        return v.load_spread_bits(v.i8x32, fields + MARKS + 4 * g)

    scale = of_group(v, columns, scales)
    return IntegerParts(
        bits=bits, unpack=None, row=look_up, row_scale=scale, columns=columns, scales=scales, signed=True,
        prepare=prepare, minus=minus,
    )  # fmt: skip


def shifted_parts(
    v: InstructionSet, book: NDArray[np.int8], shift: int, prepare: Part, columns: Part, scales: int
) -> IntegerParts:
    """Vectors of eight, to all of which the mark is added; the sums are below 2^shift in magnitude."""
    look_up, i8x4 = _look_up(v, book + (1 << shift)), v.Vec("i8", 4)
    copies = v.copies_of(8)

    def row(fields, g):
        return look_up(fields, g) + copies(v.load(i8x4, fields + MARKS + 4 * g))

    scale = of_group(v, columns, scales)
    return IntegerParts(
        bits=shift + 1,
        unpack=None,
        row=row,
        row_scale=scale,
        columns=columns,
        scales=scales,
        shift=shift,
        prepare=prepare,
    )


def _look_up(v: InstructionSet, book: NDArray[np.int8]) -> Any:
    """`(fields, g)`: the 32 values of group g."""
    size = book.shape[1]
    kind, start = v.Vec(ELEMENTS[size], 32 // size), v.table(book.tobytes())
    step = 64 // size

    def found(fields, g):
        return v.bitcast(v.i8x32, v.load_indexed(kind, start(), fields + INDICES + step * g))

    return v.jitable(found)


def even_signs_of(v: InstructionSet) -> tuple[Any, Any]:
    """The part `(x)`: bytes of seven sign bits, as int32x8, with the eighth (see `codebooks.even_signs`).

    And the part `(x)` that makes such bytes of four fields of 7 bits in every int32.
    """

    @v.jitable
    def with_eighth(x):
        ones = x ^ x >> 1
        ones = ones ^ ones >> 2
        return x | ((ones ^ ones >> 4) & 0x01010101) << 7

    @v.jitable
    def of_fields(x):
        return with_eighth(x & 0x7F | x << 1 & 0x7F00 | x << 2 & 0x7F0000 | x << 3 & 0x7F000000)

    return with_eighth, of_fields


def indices(v: InstructionSet, shifts: tuple[int, int, int, int], mask: int) -> Any:
    """`(low, fields, out)`: indices of 32 vectors from their low bytes, and upper bits in eight `fields`, int64x8.

    The field of four vectors is shifted to the left by each of `shifts`; what is under `mask` in their words is kept.
    """
    i16x32 = v.Vec("i16", 32)
    a, b, c, d = shifts
    every = mask * 0x0001000100010001

    def run(low, fields, out):
        high = (fields << a | fields << b | fields << c | fields << d) & every
        v.store(out, v.widen_unsigned(i16x32, low) | v.bitcast(i16x32, high))

    return v.jitable(run)


def nibble_columns(v: InstructionSet, at: int, factor: float) -> Part:
    """`columns` for float16 d and 16 scales of 4 bits at byte `at`: d * (scale + 1/2) * factor."""
    i8x8 = v.Vec("i8", 8)

    @v.jitable
    def scale(d, nibbles):
        return d * (v.to_f32(v.f32x8, nibbles & 15) + 0.5)

    def columns(p):
        d, pairs = v.load_f16_splat(v.f32x8, p) * factor, v.widen_unsigned(v.i32x8, v.load(i8x8, p + at))
        return scale(d, pairs), scale(d, pairs >> 4)

    return columns
