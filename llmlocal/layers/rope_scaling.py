"""The frequencies of rotary embedding, and how they are scaled for longer contexts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .hyperparameters import Hyperparameters
from .metadata import Config
from .weights import Weights


@dataclass(frozen=True, slots=True)
class RopeParameters:
    """`frequencies` (rotary_dim / 2,) float64, radians per position of each pair; `scale` multiplies rotated values."""

    frequencies: NDArray[np.float64]
    scale: float


def unscaled_rope(rotary_dim: int, base: float) -> RopeParameters:
    """RoPE without scaling: the frequency of pair i is base^(-2 i / rotary_dim). Su et al. 2021, arXiv 2104.09864."""
    return RopeParameters(base ** -(np.arange(0, rotary_dim, 2, dtype=np.float64) / max(rotary_dim, 1)), 1.0)


def rope_parameters(
    c: Config, w: Weights, h: Hyperparameters, n_ctx: int, *, whole_pairs: bool = True
) -> RopeParameters:
    """RoPE as metadata under `rope.` and tensors of divisors define it, for a context of `n_ctx` tokens.

    Scaling is none, linear (Chen et al. 2023, arXiv 2306.15595) or YaRN (Peng et al. 2023, arXiv 2309.00071;
    `whole_pairs`: the ends of its ramp are rounded to whole pairs). Tensors hold a divisor for each frequency:
    `rope_freqs.weight` (Llama 3.1), or one tensor for contexts up to the original one and one for longer contexts
    (LongRoPE, Ding et al. 2024, arXiv 2402.13753). Raises BadFileError for wrong or unsupported values.
    """
    base = c.number("rope.freq_base", 1e-3, 1e12, 10000.0)
    original = c.integer("rope.scaling.original_context_length", 1, 1 << 31, h.context)
    unscaled = unscaled_rope(h.rotary_dim, base).frequencies / _divisors(c, w, h.rotary_dim, n_ctx > original)
    kind = c.text("rope.scaling.type", "linear" if _factor(c) != 1 else "none")
    scale = c.number("rope.scaling.attn_factor", 0, 1e3, 1.0)
    if kind in ("none", "longrope"):
        return RopeParameters(unscaled, scale)
    factor = _factor(c)
    if kind == "linear":
        return RopeParameters(unscaled / factor, scale)
    if kind != "yarn":
        raise c.fail(f"rope scaling '{kind}' is not supported; supported are none, linear, yarn and longrope")
    return _yarn(c, unscaled, factor, h.rotary_dim, base, original, whole_pairs)


def part_rope(c: Config, w: Weights, rotary_dim: int, divisors: int) -> RopeParameters:
    """RoPE of `rotary_dim` values of a head, with the first divisors of a tensor that has them for `divisors` values.

    Raises BadFileError for scaling of another kind.
    """
    if c.text("rope.scaling.type", "none") != "none" or _factor(c) != 1:
        raise c.fail("rope scaling is supported as divisors of frequencies (rope_freqs.weight) alone")
    plain = unscaled_rope(rotary_dim, c.number("rope.freq_base", 1e-3, 1e12, 10000.0))
    return RopeParameters(plain.frequencies / _divisors(c, w, divisors, long=False)[: rotary_dim // 2], plain.scale)


def _factor(c: Config) -> float:
    return c.number("rope.scaling.factor", 0, 1e6, c.number("rope.scale_linear", 0, 1e6, 1.0)) or 1.0


def _divisors(c: Config, w: Weights, rotary_dim: int, long: bool) -> NDArray[np.float64]:
    """Divisors of frequencies (rotary_dim / 2,) float64; all 1 if the file has no such tensor."""
    longrope = {size: w.maybe_vector(f"rope_factors_{size}.weight", rotary_dim // 2) for size in ("short", "long")}
    tensor = w.maybe_vector("rope_freqs.weight", rotary_dim // 2) or longrope["long" if long else "short"]
    if tensor is None:
        return np.ones(rotary_dim // 2)
    divisors = tensor.dequantize().astype(np.float64)
    if not (divisors > 0).all():
        raise c.fail(f"tensor '{tensor.name}' holds a divisor that is not positive")
    return divisors


def _yarn(
    c: Config,
    unscaled: NDArray[np.float64],
    factor: float,
    rotary_dim: int,
    base: float,
    original: int,
    whole_pairs: bool,
) -> RopeParameters:
    """High frequencies stay, low ones are divided by `factor`, with a linear ramp of pairs between them."""
    if base <= 1:
        raise c.fail(f"{c.arch}.rope.freq_base is {base:g}, must be above 1 for yarn")
    fast = c.number("rope.scaling.yarn_beta_fast", 0, 1e6, 32.0)
    slow = c.number("rope.scaling.yarn_beta_slow", 0, 1e6, 1.0)

    def pair_with(rotations: float) -> float:
        """The pair that makes so many rotations over the original context."""
        return rotary_dim * math.log(original / (max(rotations, 1e-9) * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_with(fast), pair_with(slow)
    if whole_pairs:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(0, first), min(rotary_dim - 1, last)
    keep = 1 - np.clip((np.arange(rotary_dim // 2) - first) / max(0.001, last - first), 0, 1)
    extrapolated = c.number("rope.scaling.yarn_ext_factor", 0, 1, 1.0)
    keep *= extrapolated
    log_factor = 0.1 * math.log(max(factor, 1.0)) if extrapolated else 0.0
    log_multiplier = c.number("rope.scaling.yarn_log_multiplier", 0, 1e3, 0.0)
    scale = c.number("rope.scaling.attn_factor", 0, 1e3, 1.0) * (1 + log_factor) / (1 + log_multiplier * log_factor)
    return RopeParameters(unscaled / factor * (1 - keep) + unscaled * keep, scale)
