"""What the sets with tiles of eight rows share: their vector types, and how tokens follow each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..simd.part import jitable
from ..simd.unroll import tuple_get, unroll_map
from ..simd.vector import Vec, f32x8, i8x32, i32x8

LANES = 8
f32, i32, i8, i16, f16 = f32x8, i32x8, i8x32, Vec("i16", 8), Vec("f16", 8)
row_f32, row_i32, row_i8 = f32x8, i32x8, i8x32
TILES = ""
FLOAT_TILES = 1
FLIP_SIGNED = False
SUMS = False
PAIRS = False
SIGNS = False
PAIR_TOKENS = 0
REGISTER_TOKENS = 16
STORED_SUMS = 0


def pairs_dot(tokens: int, n: int, weight: Any) -> Any:
    """Where PAIRS is False nothing asks for it."""
    raise NotImplementedError


def sums_dot(tokens: int, n: int) -> Any:
    """Nothing asks for it but AVX2."""
    raise NotImplementedError


def scaled_dot(tokens: int, n: int) -> Any:
    """Nothing asks for it but AVX2."""
    raise NotImplementedError


def signs_dot(tokens: int, n: int, weight: Any) -> Any:
    """Where SIGNS is False nothing asks for it."""
    raise NotImplementedError


def of_vectors(dot_of: Callable[[int, int, int, bool], Any]) -> Callable[[int, int, int, bool, Any], Any]:
    """`tokens_dot` from one whose weights are a tuple of vectors; LLVM moves their loads to where they serve best."""

    def tokens_dot(tokens: int, n: int, bits: int, signed: bool, weight: Any) -> Any:
        dot, vectors = dot_of(tokens, n, bits, signed), unroll_map(n, weight)
        return jitable(lambda sums, w, x, stride: dot(sums, vectors(w), x, stride))

    return tokens_dot


def token_by_token(group_dot: Callable[[int, int, bool], Any]) -> Callable[[int, int, int, bool, Any], Any]:
    """`tokens_dot` from `group_dot(n, bits, signed)`, the products of one token."""

    @of_vectors
    def tokens_dot(tokens: int, n: int, bits: int, signed: bool) -> Any:
        dot = group_dot(n, bits, signed)
        return unroll_map(tokens, lambda t, sums, w, x, stride: dot(tuple_get(sums, t), w, x + t * stride))

    return tokens_dot
