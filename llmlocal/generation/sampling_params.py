"""The parameters of a sampler. Needs no NumPy, so that settings can be checked without it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from .samplers.ban import Ban

LARGEST = sys.float_info.max  # no integer beyond it is a temperature
STAGES = ("top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature")
OFF = {"top_n_sigma": 0, "top_k": 0, "typical_p": 1, "top_p": 1, "min_p": 0, "xtc_probability": 0}


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose a token. Raises UsageError for invalid values.

    `temperature` 0 is greedy. `top_k` 0, `top_p` 1, `typical_p` 1 and `min_p` 0 turn these stages off. Penalties count
    the last `repeat_last_n` ids of the history, -1 for all of it. `logit_bias` is added to the logits of ids; -inf
    forbids one. `stages` is the order of those after the penalties, a stage that is not named is left out.

    `top_n_sigma` 0, `xtc_probability` 0, `dynatemp_range` 0, `dry_multiplier` 0 and `mirostat` 0 turn these off.
    `mirostat` 1 and 2 are its versions, which take the place of all stages but the temperature. `dry_breakers` are the
    ids that end a repetition. `ban`: texts that must not occur.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_last_n: int = -1
    dry_breakers: Set[int] = frozenset()
    stages: Sequence[str] = STAGES
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    ban: Ban | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        require(0 <= self.temperature <= LARGEST, "temperature", self.temperature, "0 or more")
        require(self.top_k >= 0, "top_k", self.top_k, "0 (off) or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        require(0 <= self.min_p <= 1, "min_p", self.min_p, "between 0 and 1")
        require(0 < self.typical_p <= 1, "typical_p", self.typical_p, "above 0 and at most 1")
        require(0.01 <= self.repeat_penalty <= 100, "repeat_penalty", self.repeat_penalty, "between 0.01 and 100")
        require(self.repeat_last_n >= -1, "repeat_last_n", self.repeat_last_n, "-1 (all) or more")
        for name in ("frequency_penalty", "presence_penalty"):
            require(abs(getattr(self, name)) <= 100, name, getattr(self, name), "between -100 and 100")
        require(0 <= self.top_n_sigma <= 100, "top_n_sigma", self.top_n_sigma, "between 0 (off) and 100")
        require(0 <= self.xtc_probability <= 1, "xtc_probability", self.xtc_probability, "between 0 (off) and 1")
        require(0 < self.xtc_threshold <= 1, "xtc_threshold", self.xtc_threshold, "above 0 and at most 1")
        for name in ("dynatemp_range", "dynatemp_exponent", "mirostat_tau", "mirostat_eta", "dry_multiplier"):
            require(0 <= getattr(self, name) <= 100, name, getattr(self, name), "between 0 and 100")
        require(self.mirostat in (0, 1, 2), "mirostat", self.mirostat, "0 (off), 1 or 2")
        require(1 <= self.dry_base <= 100, "dry_base", self.dry_base, "between 1 and 100")
        require(self.dry_allowed_length >= 1, "dry_allowed_length", self.dry_allowed_length, "1 or more")
        require(self.dry_last_n >= -1, "dry_last_n", self.dry_last_n, "-1 (all) or more")
        named = {*self.stages} <= {*STAGES} and len({*self.stages}) == len(self.stages)
        require(named, "the order of samplers", ", ".join(self.stages), f"some of {', '.join(STAGES)}, each once")
        require(self.seed is None or 0 <= self.seed < 2**64, "seed", self.seed, "between 0 and 2^64 - 1")
        for id, bias in self.logit_bias.items():
            require(id >= 0, "id in logit_bias", id, "0 or more")
            require(abs(bias) <= 1e6 or bias == -inf, f"logit_bias of token {id}", bias, "within 1e6, or -inf")


def require(holds: bool, name: str, value: object, wanted: str) -> None:
    """Raises UsageError, which names the value and says what it must be, unless the condition `holds`."""
    if not holds:
        raise UsageError(f"{name} is {value}: must be {wanted}")
