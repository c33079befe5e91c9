"""Any CPU: plain LLVM vectors of 256 bits, which LLVM splits to what the machine has; float16 by integer arithmetic."""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir
from numba.core import types

from ..simd import few_tokens
from ..simd.arithmetic import *
from ..simd.float16 import float16_intrinsics, narrow_by_integers, widen_by_integers
from ..simd.load_store import *
from ..simd.load_store import load_splat4
from ..simd.unroll import *
from ..simd.unroll import tuple_get, unroll_fold
from ..simd.vector import *
from ..simd.vector import (
    intrinsic,
    returns,
    same_as_first,
    shuffle_value,
)
from .lanes8 import *
from .lanes8 import i8, token_by_token
from .rows import keep_narrow, narrow_scale

keep_row_scales, row_scale = keep_narrow, narrow_scale
TOKENS = FLOAT_TOKENS = 4
FEW_TOKENS = few_tokens.FEW_TOKENS["generic"]
PROOF = ""
to_f32, to_f16, load_f16, load_f16_splat, load_f16_column = float16_intrinsics(widen_by_integers, narrow_by_integers)


@intrinsic(same_as_first)
def dot4(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc (int32) + sums of 4 products of bytes: `w` -128..127, `x` -127..127.

    By way of int16 pairs, which SSE2 and NEON multiply and add in one instruction.
    """
    n, pairs = t[1].n, ir.VectorType(ir.IntType(32), t[1].n // 2)
    short = ir.VectorType(ir.IntType(16), n)
    halves = [b.sext(side, short) for side in (w, x)]
    even, odd = ([b.sext(shuffle_value(b, h, h, list(range(i, n, 2))), pairs) for h in halves] for i in (0, 1))
    two = b.add(b.mul(*even), b.mul(*odd))
    four = b.add(*(shuffle_value(b, two, two, list(range(i, n // 2, 2))) for i in (0, 1)))
    return b.add(acc, four)


dot4_signed = dot4


def group_dot(n: int, bits: int, signed: bool) -> Any:
    """The function `(start, weights, x) -> start + n dot4`: `weights` n vectors, `x` the address of 4 n bytes."""

    def step(j, sums, weights, x):
        return dot4(sums, tuple_get(weights, j), load_splat4(i8, x + 4 * j))

    return unroll_fold(n, step)


@intrinsic(same_as_first)
def _fma_in_two(b: Any, t: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded twice: without the instruction LLVM would call a function for every lane."""
    return b.fadd(b.fmul(x, y), z)


fma = _fma_in_two


@intrinsic(same_as_first)
def _round_by_magic(b: Any, t: Any, x: Any) -> Any:
    """Every float32 lane of magnitude below 2^22 rounded to the nearest integer, ties to even.

    In 1.5 * 2^23 + x the last bit is worth 1, so the sum is rounded as wanted; no SSE2 instruction does it.
    """
    magic = t[0].lanes([1.5 * 2**23] * t[0].n)
    return b.fsub(b.fadd(x, magic), magic)


round_even = _round_by_magic


@intrinsic(returns(types.void))
def pause(b: Any, t: Any) -> Any:
    """Nothing here: no portable instruction tells the CPU that a thread spins."""


tokens_dot = paired_dot = token_by_token(group_dot)
