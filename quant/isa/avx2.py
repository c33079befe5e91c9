"""x86-64 with AVX2: 256-bit vectors; bytes are multiplied by `vpmaddubsw` and widened by `vpmaddwd`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llvmlite.ir as ir
from numba.core import types

from ..simd import few_tokens
from ..simd.arithmetic import *
from ..simd.float16 import *
from ..simd.load_store import *
from ..simd.unroll import *
from ..simd.vector import *
from ..simd.vector import Vec, call, intrinsic, joined, pieces, returns, same_as_first
from . import maddubs
from .lanes8 import *
from .lanes8 import i8
from .rows import keep_narrow, narrow_scale

keep_row_scales, row_scale = keep_narrow, narrow_scale
TILES = "avx2_tiles"
TOKENS, FLOAT_TOKENS = 4, 6  # 12 sums of floats: with 8 an FMA waits for the one before it
FLOAT_TILES = 2
FEW_TOKENS = few_tokens.FEW_TOKENS["avx2"]
SUMS = True
PAIRS = True
SIGNS = True
REGISTER_TOKENS = 16
STORED_SUMS = 4  # of two registers each: with as many sums of products, all 16
PROOF = "vpmaddubsw"


@intrinsic(same_as_first)
def _negate_by_sign(b: Any, t: Any, x: Any, minus: Any) -> Any:
    """Bytes with another sign where `minus` is all ones, not 0, by `vpsignb`."""
    return call(b, "llvm.x86.avx2.psign.b", x.type, x, b.or_(minus, t[0].lanes([1] * t[0].n)))


negate = _negate_by_sign


def lookup_by_shuffle(widest: int) -> Any:
    """`lookup16` by `vpshufb`, which looks up 16 bytes in every 128 bits of a register, of `widest` bytes at most."""
    names = {16: "ssse3.pshuf.b.128", 32: "avx2.pshuf.b", 64: "avx512.pshuf.b.512"}

    def lookup(values: Sequence[int]) -> Any:
        """The intrinsic `x -> values[x]` for bytes 0..15."""

        @intrinsic(same_as_first)
        def found(b: Any, t: Any, x: Any) -> Any:
            registers = max(1, t[0].n // widest)
            width = t[0].n // registers
            table = Vec("i8", width).lanes(list(values) * (width // 16))
            parts = pieces(b, x, registers)
            return joined(b, [call(b, f"llvm.x86.{names[width]}", part.type, table, part) for part in parts])

        return found

    return lookup


lookup16 = lookup_by_shuffle(32)


@intrinsic(returns(types.void))
def pause(b: Any, t: Any) -> Any:
    """Tell the CPU that this thread spins."""
    call(b, "llvm.x86.sse2.pause", ir.VoidType())


dot2, dot4, dot4_signed, mul_round = maddubs.dot2, maddubs.dot4, maddubs.dot4_signed, maddubs.mul_round
tokens_dot, pairs_dot, sums_dot, scaled_dot, signs_dot = maddubs.tile_products(i8)
paired_dot = tokens_dot
