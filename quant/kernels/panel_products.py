"""Products in registers: 32 weights of every row of a tile by a few tokens, wherever the weights come from."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..blocks.parts import IntegerParts, Part
from ..simd.instruction_set import InstructionSet
from .q8_activations import (
    HALVES,
    HALVES_SHIFT,
    NEGATIVE,
    PAIR_SHIFT,
    PAIRS,
    SCALE,
    SCALED,
    SCALED_LOW,
    SIGNED_SCALE,
    SUM,
    SUM_SHIFT,
)


def offset_shift(v: InstructionSet, parts: IntegerParts) -> int:
    """Log of the offset under which weights are multiplied: their own, or 128 where signed bytes are made unsigned."""
    return 7 if parts.signed and v.FLIP_SIGNED else parts.shift


def offset_times(v: InstructionSet, parts: IntegerParts) -> Any:
    """Sums of activations as a record holds them for so many scales -> minus the offset times them."""
    more = offset_shift(v, parts) - (SUM_SHIFT if parts.scales == 1 else HALVES_SHIFT)
    if more < 0:
        return v.jitable(lambda sums: v.shift_signed(sums, -more))
    return v.jitable((lambda sums: sums << more) if more else (lambda sums: sums))


def _starts(v: InstructionSet, parts: IntegerParts, tokens: int, paired: bool) -> Any:
    """`(sums of activations at, stride)` -> what each token's product starts from: minus offset times sum."""
    i32 = v.i32
    if paired or offset_shift(v, parts) < 0:
        return v.unroll_map(tokens, lambda t, at, stride: v.zero(i32))
    times = offset_times(v, parts)
    return v.unroll_map(tokens, lambda t, at, stride: times(v.load_splat(i32, at + t * stride)))


def _dot(v: InstructionSet, parts: IntegerParts, tokens: int, n: int, weight: Part, paired: bool) -> Any:
    return (v.paired_dot if paired else v.tokens_dot)(tokens, n, parts.bits, parts.signed, weight)


class PanelGroup(NamedTuple):
    """32 weights of every row of a tile by a panel's tokens: their lines begin at `x`, those of signs at `signs`.

    `products(weights, x, signs, stride)` are the integers; `add(sums, products, scales, x, signs, stride)` gives sums +
    those under the scales, which lie at the address `scales`: what is read late takes no register before.
    """

    products: Any
    add: Any


def panel_group(
    v: InstructionSet, parts: IntegerParts, tokens: int, weight: Part, paired: bool = False, signs: bool = False
) -> PanelGroup:
    """`weight(j, weights)` gives the j-th of the 8 vectors of 32 weights of every row.

    With `signs`, where the set has SIGNS and weights are signed, lines of signs are read and no others: lines of both
    kinds for 16 tokens of 576 values would fill the L1 cache.
    """
    if parts.scales == 2:
        return _two_scales(v, parts, tokens, weight, paired)
    return _one_scale(v, parts, tokens, weight, paired, signs and v.SIGNS and parts.signed)


def _one_scale(
    v: InstructionSet, parts: IntegerParts, tokens: int, weight: Part, paired: bool, signs: bool
) -> PanelGroup:
    f32 = v.f32

    def scaled(t, sums, products, d, at, stride):
        scale = d * v.load_splat(f32, at + t * stride)
        return v.fma(scale, v.to_f32(f32, v.tuple_get(products, t)), v.tuple_get(sums, t))

    every = v.unroll_map(tokens, scaled)
    if signs:
        by_signs = v.signs_dot(tokens, 8, weight)

        def add_by_signs(sums, products, scales, x, at, stride):
            return every(sums, products, v.load(f32, scales), at + SIGNED_SCALE, stride)

        products = v.jitable(lambda w, x, at, stride: by_signs(at + NEGATIVE, w, at, stride))
        return PanelGroup(products, v.jitable(add_by_signs))

    def add(sums, products, scales, x, at, stride):
        return every(sums, products, v.load(f32, scales), x + SCALE, stride)

    starts, dot = _starts(v, parts, tokens, paired), _dot(v, parts, tokens, 8, weight, paired)
    return PanelGroup(v.jitable(lambda w, x, at, stride: dot(starts(x + SUM, stride), w, x, stride)), v.jitable(add))


def _two_scales(v: InstructionSet, parts: IntegerParts, tokens: int, weight: Part, paired: bool) -> PanelGroup:
    """The halves of 32 weights have scales of their own."""
    f32, weight = v.f32, v.jitable(weight)
    first_dot = _half_dot(v, parts, tokens, weight, paired)
    second_dot = _half_dot(v, parts, tokens, lambda j, w: weight(j + 4, w), paired)

    def scaled(t, sums, products, first, second, x, stride):
        low, high = products
        both = v.fma(second, v.to_f32(f32, v.tuple_get(high, t)), first * v.to_f32(f32, v.tuple_get(low, t)))
        return v.fma(both, v.load_splat(f32, x + t * stride + SCALE), v.tuple_get(sums, t))

    every = v.unroll_map(tokens, scaled)

    def add(sums, products, scales, x, at, stride):
        return every(sums, products, v.load(f32, scales), v.load(f32, scales + 4 * v.LANES), x, stride)

    return PanelGroup(
        v.jitable(lambda w, x, at, stride: (first_dot(w, x, x, stride), second_dot(w, x + 16, x + 4, stride))),
        v.jitable(add),
    )


def _half_dot(v: InstructionSet, parts: IntegerParts, tokens: int, weight: Part, paired: bool) -> Any:
    """`(weights, bytes, line, stride)` -> 16 weights of every row times the tokens' bytes, less the offset's share.

    That is read from the line, of which the second half's begins 4 bytes later.
    """
    if v.PAIRS and parts.bits == 6 and parts.shift == PAIR_SHIFT and not parts.signed:
        pairs = v.pairs_dot(tokens, 4, weight)
        return v.jitable(lambda w, bytes_at, line, stride: pairs(line + PAIRS, w, bytes_at, stride))
    starts, dot = _starts(v, parts, tokens, paired), _dot(v, parts, tokens, 4, weight, paired)
    return v.jitable(lambda w, bytes_at, line, stride: dot(starts(line + HALVES, stride), w, bytes_at, stride))


def panel_minima(v: InstructionSet, parts: IntegerParts, tokens: int) -> Any:
    """`(sums, tile, x, stride)` -> sums + minima of the rows times the scaled sums of the activations."""
    f32, at = v.f32, 4 * v.LANES * (8 + parts.scales)
    if parts.row_min is None:
        return v.jitable(lambda sums, tile, x, stride: sums)
    times = v.unroll_map(
        tokens, lambda t, sums, low, x, stride: v.fma(low, v.load_splat(f32, x + t * stride), v.tuple_get(sums, t))
    )
    if parts.minima == 1:
        return v.jitable(lambda sums, tile, x, stride: times(sums, v.load(f32, tile + at), x + SCALED, stride))

    def run(sums, tile, x, stride):
        low, high = v.load(f32, tile + at), v.load(f32, tile + at + 4 * v.LANES)
        return times(times(sums, high, x + SCALED, stride), low - high, x + SCALED_LOW, stride)

    return v.jitable(run)
