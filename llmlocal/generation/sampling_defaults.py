"""How to sample where the user does not say: as the catalog recommends, else as the file does, else as we do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import UsageError
from .sampler import SamplingParams

# Our names -> the keys that GGUF files recommend them under.
KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_penalty": "general.sampling.penalty_repeat",
    "repeat_last_n": "general.sampling.penalty_last_n",
}
WHOLE = ("top_k", "repeat_last_n", "seed")  # the fields that are whole numbers
NAMES = tuple(field.name for field in fields(SamplingParams) if field.name != "logit_bias")


def sampling(
    metadata: Mapping[str, Any], given: Mapping[str, Any], recommended: Mapping[str, Any] | None = None
) -> SamplingParams:
    """The parameters to use. `given` are the user's, None where there is none; `recommended` those of the catalog.

    Raises UsageError for values of the user without meaning; those of a file are then left out.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    for source in (recommended or {}, _of_file(metadata)):
        for name, value in source.items():
            if name not in chosen and name in NAMES and _valid(name, value):
                chosen[name] = value
    return SamplingParams(**chosen)


def check(given: Mapping[str, Any]) -> None:
    """Raises UsageError for values of the user without meaning: told before a model is looked for."""
    SamplingParams(**{name: value for name, value in given.items() if value is not None})


def parameter(name: str, text: str) -> int | float:
    """The value of a parameter that a person typed. Raises UsageError for an unknown name, or for no number."""
    if name not in NAMES:
        raise UsageError(f"no parameter {name}", f"there is {', '.join(NAMES)}")
    try:
        return int(text) if name in WHOLE else float(text)
    except ValueError:
        raise UsageError(f"{name} is {text}: must be a {'whole ' * (name in WHOLE)}number") from None


def _of_file(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metadata[key] for name, key in KEYS.items() if key in metadata}


def _valid(name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if name in WHOLE else int | float):
        return False
    try:
        SamplingParams(**{name: value})  # type: ignore[arg-type]
    except UsageError:
        return False
    return True
