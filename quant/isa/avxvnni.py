"""x86-64 with AVX-VNNI: AVX2's vectors, and bytes multiplied and added to int32 by one `vpdpbusd`."""

from __future__ import annotations

from ..simd import few_tokens
from . import vnni
from .avx2 import *
from .lanes8 import of_vectors

PROOF = "vpdpbusd"
TILES = ""
FEW_TOKENS = few_tokens.FEW_TOKENS["avxvnni"]
REGISTER_TOKENS = 16
STORED_SUMS = 0
FLIP_SIGNED = True
SUMS = False
PAIRS = False
SIGNS = False
dot4 = vnni.dot4
dot4_signed = vnni.dot4  # signed bytes arrive with 128 added
tokens_dot = paired_dot = of_vectors(vnni.tokens_dot_for(i8))
