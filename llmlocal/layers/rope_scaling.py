"""How far each pair of a head turns per position: the base frequencies and their stretching for longer contexts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metadata import Config
from .weights import Weights


@dataclass(frozen=True, slots=True)
class Rotation:
    """Angle per position of every pair (pairs,), float64, and a factor of the rotated values."""

    frequencies: NDArray[np.float64]
    scale: float


def plain_rotation(turned: int, base: float) -> Rotation:
    """The rotation without any stretching: pair i of a head turns by base^(-2 i / turned)."""
    return Rotation(base ** -(np.arange(0, turned, 2, dtype=np.float64) / max(turned, 1)), 1.0)


def rotation(c: Config, w: Weights, turned: int, context: int, n_ctx: int, *, rounded: bool = True) -> Rotation:
    """The rotation that metadata under `rope.` and tensors of divisors describe. Raises BadFileError.

    Scaling none, linear (Chen et al. 2023, arXiv 2306.15595) and yarn (Peng et al. 2023, arXiv 2309.00071; `rounded`:
    its ramp begins and ends at whole pairs); tensors hold a divisor for every pair: `rope_freqs.weight` (Llama 3.1), or
    two of which one serves contexts `n_ctx` up to the original one (longrope, Ding et al. 2024, arXiv 2402.13753).
    """
    base = c.number("rope.freq_base", 1e-3, 1e12, 10000.0)
    original = c.integer("rope.scaling.original_context_length", 1, 1 << 31, context)
    plain = plain_rotation(turned, base).frequencies / _divisors(c, w, turned, n_ctx > original)
    kind = c.text("rope.scaling.type", "linear" if _factor(c) != 1 else "none")
    scale = c.number("rope.scaling.attn_factor", 0, 1e3, 1.0)
    if kind in ("none", "longrope"):
        return Rotation(plain, scale)
    factor = _factor(c)
    if kind == "linear":
        return Rotation(plain / factor, scale)
    if kind != "yarn":
        raise c.fail(f"rope scaling '{kind}' is not supported (none, linear, yarn and longrope are)")
    return _yarn(c, plain, factor, turned, base, original, rounded)


def _factor(c: Config) -> float:
    return c.number("rope.scaling.factor", 0, 1e6, c.number("rope.scale_linear", 0, 1e6, 1.0)) or 1.0


def _divisors(c: Config, w: Weights, turned: int, long: bool) -> NDArray[np.float64]:
    """Of every pair (pairs,); 1 where the file has no such tensor."""
    both = {size: w.maybe_vector(f"rope_factors_{size}.weight", turned // 2) for size in ("short", "long")}
    found = w.maybe_vector("rope_freqs.weight", turned // 2) or both["long" if long else "short"]
    if found is None:
        return np.ones(turned // 2)
    divisors = found.dequantize().astype(np.float64)
    if not (divisors > 0).all():
        raise c.fail(f"tensor '{found.name}' holds a divisor that is not positive")
    return divisors


def _yarn(
    c: Config, plain: NDArray[np.float64], factor: float, turned: int, base: float, original: int, rounded: bool
) -> Rotation:
    """Pairs that turn often within the original context keep their speed, slow ones are stretched, a ramp between."""
    if base <= 1:
        raise c.fail(f"{c.arch}.rope.freq_base is {base:g}, must be above 1 for yarn")
    fast = c.number("rope.scaling.yarn_beta_fast", 0, 1e6, 32.0)
    slow = c.number("rope.scaling.yarn_beta_slow", 0, 1e6, 1.0)

    def pair_turning(times: float) -> float:
        """The pair that turns `times` times over the original context."""
        return turned * math.log(original / (max(times, 1e-9) * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_turning(fast), pair_turning(slow)
    if rounded:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(0, first), min(turned - 1, last)
    keep = 1 - np.clip((np.arange(turned // 2) - first) / max(0.001, last - first), 0, 1)
    extrapolation = c.number("rope.scaling.yarn_ext_factor", 0, 1, 1.0)
    keep *= extrapolation
    stretched = 0.1 * math.log(max(factor, 1.0)) if extrapolation else 0.0
    blunter = c.number("rope.scaling.yarn_log_multiplier", 0, 1e3, 0.0)
    scale = c.number("rope.scaling.attn_factor", 0, 1e3, 1.0) * (1 + stretched) / (1 + blunter * stretched)
    return Rotation(plain / factor * (1 - keep) + plain * keep, scale)
