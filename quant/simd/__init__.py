"""Vector values inside Numba and the intrinsics that every instruction set shares."""
