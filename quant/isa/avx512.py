"""x86-64 with AVX-512 VNNI: 512-bit vectors, bytes multiplied and added by `vpdpbusd`."""

from __future__ import annotations

from typing import Any

from ..simd import few_tokens
from ..simd.arithmetic import *
from ..simd.float16 import *
from ..simd.load_store import *
from ..simd.unroll import *
from ..simd.vector import *
from ..simd.vector import Vec, call, intrinsic, joined, pieces, same_as_first
from . import avx2, vnni
from .lanes8 import of_vectors
from .rows import keep_wide, wide_scale

LANES = 16
f32, i32, i8 = Vec("f32", 16), Vec("i32", 16), Vec("i8", 64)
i16, f16 = Vec("i16", 16), Vec("f16", 16)
row_f32, row_i32, row_i8 = f32, i32, i8
TILES = "avx512_tiles"
keep_row_scales, row_scale = keep_wide, wide_scale
TOKENS = FLOAT_TOKENS = 8
FLOAT_TILES = 1
FEW_TOKENS = few_tokens.FEW_TOKENS["avx512"]
PROOF = "vpdpbusd"
FLIP_SIGNED = True
SUMS = False
PAIRS = False
SIGNS = False
PAIR_TOKENS = 0
REGISTER_TOKENS = 16
STORED_SUMS = 0
pause, lookup16 = avx2.pause, avx2.lookup_by_shuffle(64)
pairs_dot, sums_dot, scaled_dot = avx2.pairs_dot, avx2.sums_dot, avx2.scaled_dot  # not used here
signs_dot = avx2.signs_dot  # nor here
dot4 = vnni.dot4
dot4_signed = vnni.dot4  # signed bytes arrive with 128 added
tokens_dot = paired_dot = of_vectors(vnni.tokens_dot_for(i8))


@intrinsic(same_as_first)
def _add_pairs(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc (int32) + sums of 2 products of neighbouring int16: `vpmaddwd`, which LLVM makes one with the addition."""
    registers = max(1, t[0].n // 16)
    name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}[t[0].n // registers]
    parts = zip(pieces(b, w, registers), pieces(b, x, registers), strict=True)
    sums = [call(b, f"llvm.x86.{name}", Vec("i32", t[0].n // registers).ir, *part) for part in parts]
    return b.add(acc, joined(b, sums))


dot2 = _add_pairs
