"""Functions for kernels that pack levels, a byte each, into the bit fields of blocks of 256."""

from __future__ import annotations

from typing import Any

from ..simd.instruction_set import InstructionSet


def copy_float16(v: InstructionSet) -> Any:
    """`(out, p)`: the two bytes at `p`."""
    one = v.Vec("i16", 1)
    return v.jitable(lambda out, p: v.store(out, v.load(one, p)))


def pack_pairs(v: InstructionSet) -> Any:
    """`(out, q)`: 256 levels' low nibbles: of 64, those of the first 32 in low halves of bytes."""

    def pack(out, q):
        for pair in range(4):
            low, high = v.load(v.i8x32, q + 64 * pair), v.load(v.i8x32, q + 64 * pair + 32)
            v.store(out + 32 * pair, low & 15 | high << 4)

    return v.jitable(pack)


def pack_quads(v: InstructionSet) -> Any:
    """`(out, q)`: 128 levels' two low bits in 32 bytes: of the first 32 levels lowest, and so on; twice."""

    def pack(out, q):
        for half in range(2):
            packed = v.zero(v.i8x32)
            for i in range(4):
                packed = packed | (v.load(v.i8x32, q + 128 * half + 32 * i) & 3) << 2 * i
            v.store(out + 32 * half, packed)

    return v.jitable(pack)


def pack_plane(v: InstructionSet, bit: int) -> Any:
    """`(out, q)`: one bit of 256 levels in 32 bytes: bit g of byte i is that of value i of the g-th 32."""

    def pack(out, q):
        packed = v.zero(v.i8x32)
        for g in range(8):
            packed = packed | (v.load(v.i8x32, q + 32 * g) >> bit & 1) << g
        v.store(out, packed)

    return v.jitable(pack)
