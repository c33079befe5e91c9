"""Any CPU: plain LLVM vectors of 256 bits, which LLVM splits to what the machine has; halves by integers."""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir
from numba.core import types

from ..halves import half_words, narrow_by_integers, widen_by_integers
from ..memory import *
from ..memory import load_splat4
from ..simd import *
from ..vector import *
from ..vector import Vec, always, f32x8, first, i8x32, i32x8, jitable, shuffle_value, word
from .rows import keep_narrow, narrow_scale_of

LANES = 8
f32, i32, i8, i16, f16 = f32x8, i32x8, i8x32, Vec("i16", 8), Vec("f16", 8)
row_f32, row_i32, row_i8 = f32x8, i32x8, i8x32  # a single row streams through these
keep_row_scales, row_scale_of = keep_narrow, narrow_scale_of
TOKENS = 4  # of a batch at once: their sums fill the registers that weights leave
FLIP_SIGNED = False
to_f32, to_f16, load_f16, load_f16_splat, load_f16_column = half_words(widen_by_integers, narrow_by_integers)


@word(first)
def dot4(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc (int32) + sums of 4 products of bytes: `w` 0..127, `x` -127..127."""
    wide, quarter = ir.VectorType(ir.IntType(32), t[1].n), t[1].n // 4
    product = b.mul(b.sext(w, wide), b.sext(x, wide))
    for part in range(4):
        acc = b.add(acc, shuffle_value(b, product, product, [4 * i + part for i in range(quarter)]))
    return acc


dot4_signed = dot4


def group_dot(n: int, bits: int, signed: bool) -> Any:
    """The function `(start, weights, x) -> start + n dot4`: `weights` n vectors, `x` the address of 4 n bytes."""
    if n == 0:
        return jitable(lambda start, weights, x: start)
    before, j = group_dot(n - 1, bits, signed), n - 1

    @jitable
    def step(start, weights, x):  # type: ignore[no-untyped-def]
        return dot4(before(start, weights, x), weights[j], load_splat4(i8, x + 4 * j))

    return step


@word(always(types.void))
def pause(b: Any, t: Any) -> Any:
    """Nothing here: no portable instruction tells the CPU that a thread spins."""
