"""Quantizing a block of 32 in one pass, byte for byte as GGUF's reference does: what formats build `one_pass` from.

Every sum and product is rounded by itself: a contraction would move a level now and then.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..simd.instruction_set import InstructionSet

BLOCK = 32


class BlockQuant(NamedTuple):
    """Functions for kernels; `x` is the address of 32 float32, `out` where bytes go.

    `extreme(x)`: bits of the greatest magnitude, and the first value that has it. `inverse(d)`: 1 / d, or 0.
    `span(x)`: bits of the greatest magnitude, least and greatest value. `store_float16(out, d)`: d as a float16.
    `levels(x, low, inverse, add, max_level)`: (x - low) * inverse + add cut down to whole numbers 0..max_level, as two
        i8x16. `store_nibbles(out, first, last)`: both vectors' low nibbles. `store_bits_4(out, first, last)`: their
        bits 4, 32 of them.
    """

    extreme: Any
    span: Any
    inverse: Any
    store_float16: Any
    levels: Any
    store_nibbles: Any
    store_bits_4: Any


def block_quant(v: InstructionSet) -> BlockQuant:
    """The functions for instruction set `v`."""
    extreme, span = _ends(v)
    float32, one, half1 = v.float32, v.Vec("f32", 1), v.Vec("f16", 1)

    @v.jitable
    def inverse(d):
        return float32(0) if d == 0 else v.div_exact(float32(1), d)

    @v.jitable
    def store_float16(out, d):
        v.store(out, v.to_f16(half1, v.splat(one, d)))

    return BlockQuant(extreme, span, inverse, store_float16, *_fields(v))


def _ends(v: InstructionSet) -> tuple[Any, Any]:
    """The functions `extreme` and `span`."""
    f32x16, i32x16 = v.Vec("f32", 16), v.Vec("i32", 16)

    @v.jitable
    def ends(x):
        first, last = v.load(f32x16, x), v.load(f32x16, x + 64)
        bits = v.reduce_max(v.maximum(v.bitcast(i32x16, first) & 0x7FFFFFFF, v.bitcast(i32x16, last) & 0x7FFFFFFF))
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
    """The functions `levels`, `store_nibbles` and `store_bits_4`."""
    f32x16, i32x16, i8x16, i16x16 = v.Vec("f32", 16), v.Vec("i32", 16), v.Vec("i8", 16), v.Vec("i16", 16)

    @v.jitable
    def level(x, low, inverse, add, max_level):
        scaled = v.mul_exact(v.sub_exact(v.load(f32x16, x), v.splat(f32x16, low)), v.splat(f32x16, inverse)) + add
        in_range = v.minimum(v.maximum(scaled, v.zero(f32x16)), v.splat(f32x16, max_level))
        return v.truncate(i8x16, v.to_i32(i32x16, in_range))

    @v.jitable
    def levels(x, low, inverse, add, max_level):
        return level(x, low, inverse, add, max_level), level(x + 64, low, inverse, add, max_level)

    @v.jitable
    def store_nibbles(out, first, last):
        v.store(out, first & 15 | last << 4)

    @v.jitable
    def bits(q):
        return v.reduce_add(v.widen_unsigned(i16x16, q >> 4 & 1) << v.iota(i16x16, 1))

    @v.jitable
    def store_bits_4(out, first, last):
        v.store(out, bits(first))
        v.store(out + 2, bits(last))

    return levels, store_nibbles, store_bits_4
