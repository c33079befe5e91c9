"""Sampling parameters: the user's, otherwise the catalog's, otherwise the model file's, otherwise our defaults."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from ..errors import UsageError
from .sampling_params import OFF, SamplingParams

# Names of parameters -> metadata keys of GGUF files with recommended values.
KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_penalty": "general.sampling.penalty_repeat",
    "repeat_last_n": "general.sampling.penalty_last_n",
}
INTEGERS = ("top_k", "repeat_last_n", "seed", "mirostat", "dry_allowed_length", "dry_last_n")
NO_NUMBERS = ("logit_bias", "ban", "dry_breakers", "stages")
# Names of parameters -> the one without which they have no effect.
NEEDED = {
    "xtc_threshold": "xtc_probability",
    "dynatemp_exponent": "dynatemp_range",
    **dict.fromkeys(("mirostat_tau", "mirostat_eta"), "mirostat"),
    **dict.fromkeys(("dry_base", "dry_allowed_length", "dry_last_n"), "dry_multiplier"),
}
NAMES = tuple(field.name for field in fields(SamplingParams) if field.name not in NO_NUMBERS)


def sampling(
    metadata: Mapping[str, Any], given: Mapping[str, Any], recommended: Mapping[str, Any] | None = None
) -> SamplingParams:
    """The parameters to use. `given` are the user's, None where not given; `recommended` are the catalog's.

    Raises UsageError for invalid values of the user; invalid values of a file are ignored.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    for source in (recommended or {}, _of_file(metadata)):
        for name, value in source.items():
            if name not in chosen and name in NAMES and _valid(name, value):
                chosen[name] = value
    return SamplingParams(**chosen)


def valid(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `settings` that are sampling parameters with valid values: others of a file are left out."""
    return {name: value for name, value in settings.items() if name in NAMES and _valid(name, value)}


def check(given: Mapping[str, Any], typed: Collection[str] | None = None) -> None:
    """Raises UsageError for invalid values of the user, before a model is opened, and as `check_effects`."""
    SamplingParams(**{name: value for name, value in given.items() if value is not None})
    check_effects(given, typed)


def check_effects(given: Mapping[str, Any], typed: Collection[str] | None = None) -> None:
    """Raises UsageError for a parameter of the user that has no effect beside the others, or without another.

    Only `typed` parameters must have one, by default all. Others stand in the user's settings, and yield.
    """
    typed = given if typed is None else typed
    for name, needed in NEEDED.items():
        if name in typed and given.get(name) is not None and not given.get(needed):
            raise UsageError(f"{name} has no effect without {needed}", f"set {needed} too, or leave out {name}")
    stages = given.get("stages")
    cuts = [name for name, off in OFF.items() if name in typed and given.get(name) not in (None, off)]
    left_out = [] if stages is None else [name for name in cuts if name.removesuffix("_probability") not in stages]
    if left_out:
        said = f"{left_out[0]} has no effect: --samplers leaves it out"
        raise UsageError(said, f"name it there, or leave out {left_out[0]}")
    cuts += [stage for stage in stages or () if stage != "temperature" and "stages" in typed]
    if given.get("mirostat") and cuts:
        said = f"{cuts[0]} has no effect with mirostat, which takes the place of all stages but the temperature"
        raise UsageError(said, f"leave out {cuts[0]}, or mirostat")


def parameter(name: str, text: str) -> int | float:
    """The value of a parameter as typed. Raises UsageError for an unknown name and for text that is not a number."""
    if name not in NAMES:
        raise UsageError(f"no parameter {name}", f"parameters are {', '.join(NAMES)} and max_tokens")
    try:
        return int(text) if name in INTEGERS else float(text)
    except ValueError:
        raise UsageError(f"{name} is {text}: must be a {'whole ' * (name in INTEGERS)}number") from None


def _of_file(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metadata[key] for name, key in KEYS.items() if key in metadata}


def _valid(name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if name in INTEGERS else int | float):
        return False
    try:
        SamplingParams(**{name: value})  # type: ignore[arg-type]
    except (UsageError, OverflowError):
        return False
    return True
