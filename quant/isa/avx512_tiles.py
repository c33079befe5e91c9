"""AVX-512 VNNI as matrix products use it: tiles of two registers, so that each activation broadcast serves both."""

from __future__ import annotations

from . import vnni
from .avx512 import *
from .avx512 import Vec
from .lanes8 import of_vectors

LANES = 32
f32, i32, i8 = Vec("f32", 32), Vec("i32", 32), Vec("i8", 128)
i16, f16 = Vec("i16", 32), Vec("f16", 32)
TOKENS = 4  # of a batch at once: their sums, two registers each, fill what weights leave
tokens_dot = paired_dot = of_vectors(vnni.tokens_dot_for(i8))
