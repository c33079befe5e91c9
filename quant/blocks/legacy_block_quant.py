"""The words for blocks of 32 that are quantized in one go, byte for byte as GGUF's reference does. Knows no format.

Every sum and product is rounded by itself: a contraction would move a level now and then.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..simd.instruction_set import InstructionSet

BLOCK = 32


class BlockQuant(NamedTuple):
    """`extreme(x)`: bits of the greatest magnitude, and the first value that has it. `inverse(d)`: 1 / d, or 0.

    `span(x)`: bits, least and greatest value. `half(out, d)`: d as a half float to `out`.
    `levels(x, low, inverse, add, top)`: whole numbers 0..top below (x - low) * inverse + add, as two i8x16.
    `nibbles(out, first, last)`: both vectors packed. `fifths(out, first, last)`: their bits 4, one after another.
    """

    extreme: Any
    span: Any
    inverse: Any
    half: Any
    levels: Any
    nibbles: Any
    fifths: Any


def block_quant(v: InstructionSet) -> BlockQuant:
    """The words of instruction set `v`."""
    extreme, span = _ends(v)
    float32, one, half1 = v.float32, v.Vec("f32", 1), v.Vec("f16", 1)

    @v.jitable
    def inverse(d):
        return float32(0) if d == 0 else v.div_exact(float32(1), d)

    @v.jitable
    def half(out, d):
        v.store(out, v.to_f16(half1, v.splat(one, d)))

    return BlockQuant(extreme, span, inverse, half, *_fields(v))


def _ends(v: InstructionSet) -> tuple[Any, Any]:
    """The words `extreme` and `span`."""
    f16x, i16x = v.Vec("f32", 16), v.Vec("i32", 16)

    @v.jitable
    def ends(x):
        first, last = v.load(f16x, x), v.load(f16x, x + 64)
        bits = v.reduce_max(v.maximum(v.bitcast(i16x, first) & 0x7FFFFFFF, v.bitcast(i16x, last) & 0x7FFFFFFF))
        return v.int64(bits), v.reduce_min(v.minimum(first, last)), v.reduce_max(v.maximum(first, last))

    @v.jitable
    def extreme(x):
        bits, lowest, highest = ends(x)
        if highest > -lowest:
            return bits, highest
        if -lowest > highest:
            return bits, lowest
        for i in range(BLOCK):  # both signs have it, or all are zero
            value = v.load_f32(x + 4 * i)
            if abs(value) >= highest:
                return bits, value
        return bits, v.load_f32(x)

    return extreme, ends


def _fields(v: InstructionSet) -> tuple[Any, Any, Any]:
    """The words `levels`, `nibbles` and `fifths`."""
    f16x, i16x, b16x, bit16 = v.Vec("f32", 16), v.Vec("i32", 16), v.Vec("i8", 16), v.Vec("i16", 16)

    @v.jitable
    def level(x, low, inverse, add, top):
        scaled = v.mul_exact(v.sub_exact(v.load(f16x, x), v.splat(f16x, low)), v.splat(f16x, inverse)) + add
        return v.truncate(b16x, v.to_i32(i16x, v.minimum(v.maximum(scaled, v.zero(f16x)), v.splat(f16x, top))))

    @v.jitable
    def levels(x, low, inverse, add, top):
        return level(x, low, inverse, add, top), level(x + 64, low, inverse, add, top)

    @v.jitable
    def nibbles(out, first, last):
        v.store(out, first & 15 | last << 4)

    @v.jitable
    def bits(q):
        return v.reduce_add(v.widen_unsigned(bit16, q >> 4 & 1) << v.iota(bit16, 1))

    @v.jitable
    def fifths(out, first, last):
        v.store(out, bits(first))
        v.store(out + 2, bits(last))

    return levels, nibbles, fifths
