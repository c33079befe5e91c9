"""x86-64 with AVX-VNNI: AVX2's vectors, and bytes multiplied and added to int32 by one `vpdpbusd`."""

from __future__ import annotations

from .avx2 import *
from .avx2 import magnitude_bytes, sign_bytes
from .vnni import signed_dot, vnni_dot4, vnni_group_dot

FLIP_SIGNED = True
dot4 = vnni_dot4
dot4_signed = signed_dot(magnitude_bytes, sign_bytes)
group_dot = vnni_group_dot(i8)  # noqa: F405
