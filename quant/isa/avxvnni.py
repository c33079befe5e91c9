"""x86-64 with AVX-VNNI: AVX2's vectors, and bytes multiplied and added to int32 by one `vpdpbusd`."""

from __future__ import annotations

from . import vnni
from .avx2 import *
from .lanes8 import loaded_weights

PROOF = "vpdpbusd"
FLIP_SIGNED = True
PAIRS = False
dot4 = vnni.dot4
dot4_signed = vnni.dot4  # signed bytes arrive with 128 added
tile_weights = loaded_weights(i8)
tokens_dot = paired_dot = vnni.tokens_dot_for(i8)
