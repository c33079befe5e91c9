"""`samplers`: the order of samplers, as llama.cpp's server takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...generation.sampling_params import STAGES
from ..http.errors import refused
from ..http.fields import Fields

LETTERS = {"e": "penalties", "d": "dry", "s": "top_n_sigma", "k": "top_k", "y": "typ_p", "p": "top_p"}
LETTERS |= {"m": "min_p", "x": "xtc", "t": "temperature"}
# What comes before all stages here -> the parameters that turn it off, as it is where it is not named.
BEFORE: Mapping[str, Mapping[str, float]] = {
    "penalties": {"repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0},
    "dry": {"dry_multiplier": 0.0},
}
MOST = 16  # names


def samplers_field(fields: Fields) -> dict[str, Any]:
    """Sampling parameters that follow from `samplers`: names, or a letter for each. Raises ApiError."""
    given = fields.any("samplers")
    if given is None:
        return {}
    if isinstance(given, str):
        named = [LETTERS.get(letter, letter) for letter in given[: MOST + 1]]
    else:
        named = fields.list("samplers", MOST) or []
    stages = ["typical_p" if name == "typ_p" else name for name in named if name not in BEFORE]
    if not all(isinstance(name, str) and name in STAGES for name in stages) or len(set(stages)) < len(stages):
        raise refused("samplers", f"must be some of {', '.join([*BEFORE, *STAGES])}, each once")
    if named[: len(named) - len(stages)] != [name for name in named if name in BEFORE]:
        raise refused("samplers", f"{' and '.join(BEFORE)} must come before the others")
    off = {name: value for part, values in BEFORE.items() if part not in named for name, value in values.items()}
    return {**off, "stages": tuple(stages)}
