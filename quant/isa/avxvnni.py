"""x86-64 with AVX-VNNI: AVX2's vectors, and bytes multiplied and added to int32 by one `vpdpbusd`."""

from __future__ import annotations

from .avx2 import *
from .vnni import vnni_dot4, vnni_tokens_dot

PROOF = "vpdpbusd"  # the instruction of its byte products, for those who look whether it is in use
FLIP_SIGNED = True
dot4 = vnni_dot4
dot4_signed = vnni_dot4  # signed bytes arrive with 128 added
tokens_dot = vnni_tokens_dot(i8)
