"""How far each pair of a head turns per position: the base frequencies and their stretching for longer contexts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .config import Config
from .weights import Weights


@dataclass(frozen=True, slots=True)
class Rotation:
    """Angle per position of every pair (pairs,), float64, and a factor of the rotated values."""

    frequencies: NDArray[np.float64]
    scale: float


def rotation(c: Config, w: Weights, turned: int, context: int) -> Rotation:
    """The rotation that metadata under `rope.` and the tensor `rope_freqs.weight` describe. Raises BadFileError.

    Scaling none, linear (Chen et al. 2023, arXiv 2306.15595) and yarn (Peng et al. 2023, arXiv 2309.00071); the
    tensor holds a divisor for every pair (Llama 3.1).
    """
    base = c.number("rope.freq_base", 1e-3, 1e12, 10000.0)
    plain = base ** -(np.arange(0, turned, 2, dtype=np.float64) / max(turned, 1))
    divisors = w.maybe_vector("rope_freqs.weight", turned // 2)
    if divisors is not None:
        plain /= _positive(c, divisors.dequantize().astype(np.float64))
    kind = c.text("rope.scaling.type", "linear" if _factor(c) != 1 else "none")
    scale = c.number("rope.scaling.attn_factor", 0, 1e3, 1.0)
    if kind == "none":
        return Rotation(plain, scale)
    factor = _factor(c)
    if kind == "linear":
        return Rotation(plain / factor, scale)
    if kind != "yarn":
        raise c.fail(f"rope scaling '{kind}' is not supported (none, linear and yarn are)")
    return _yarn(c, plain, factor, turned, base, c.integer("rope.scaling.original_context_length", 1, 1 << 31, context))


def _factor(c: Config) -> float:
    return c.number("rope.scaling.factor", 0, 1e6, c.number("rope.scale_linear", 0, 1e6, 1.0)) or 1.0


def _positive(c: Config, divisors: NDArray[np.float64]) -> NDArray[np.float64]:
    if not (divisors > 0).all():
        raise c.fail("tensor 'rope_freqs.weight' holds a divisor that is not positive")
    return divisors


def _yarn(c: Config, plain: NDArray[np.float64], factor: float, turned: int, base: float, original: int) -> Rotation:
    """Pairs that turn often within the original context keep their speed, slow ones are stretched, a ramp between."""
    if base <= 1:
        raise c.fail(f"{c.arch}.rope.freq_base is {base:g}, must be above 1 for yarn")
    fast = c.number("rope.scaling.yarn_beta_fast", 0, 1e6, 32.0)
    slow = c.number("rope.scaling.yarn_beta_slow", 0, 1e6, 1.0)

    def pair_turning(times: float) -> float:
        """The pair that turns `times` times over the original context."""
        return turned * math.log(original / (max(times, 1e-9) * 2 * math.pi)) / (2 * math.log(base))

    first = max(0, math.floor(pair_turning(fast)))
    last = min(turned - 1, math.ceil(pair_turning(slow)))
    keep = 1 - np.clip((np.arange(turned // 2) - first) / max(0.001, last - first), 0, 1)
    extrapolation = c.number("rope.scaling.yarn_ext_factor", 0, 1, 1.0)
    keep *= extrapolation
    sharper = 1 + 0.1 * math.log(max(factor, 1.0)) if extrapolation else 1.0
    scale = c.number("rope.scaling.attn_factor", 0, 1e3, 1.0) * sharper
    return Rotation(plain / factor * (1 - keep) + plain * keep, scale)
