"""AVX2 as matrix products use it: tiles of two registers, so that each activation broadcast serves both."""

from __future__ import annotations

from . import maddubs
from .avx2 import *
from .avx2 import Vec

LANES = 16
f32, i32, i8 = Vec("f32", 16), Vec("i32", 16), Vec("i8", 64)
i16, f16 = Vec("i16", 16), Vec("f16", 16)
tokens_dot, pairs_dot, sums_dot, scaled_dot, signs_dot = maddubs.tile_products(i8)
paired_dot = tokens_dot
