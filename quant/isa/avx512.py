"""x86-64 with AVX-512 VNNI: 512-bit vectors for batches; a single row streams through 256-bit ones."""

from __future__ import annotations

from ..simd import *
from ..simd import Vec
from .avx2 import magnitude_bytes, pause, sign_bytes
from .vnni import signed_dot, vnni_dot4, vnni_group_dot

LANES = 16
f32, i32, i8 = Vec("f32", 16), Vec("i32", 16), Vec("i8", 64)
i16, f16 = Vec("i16", 16), Vec("f16", 16)
TOKENS = 8  # of a batch at once: their sums fill the registers that weights leave
FLIP_SIGNED = True
dot4 = vnni_dot4
dot4_signed = signed_dot(magnitude_bytes, sign_bytes)
group_dot = vnni_group_dot(i8)
