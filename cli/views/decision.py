"""Decisions: the options as they are typed, and the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UsageError
from ...text import shown
from .model import to_json

if TYPE_CHECKING:
    from ...generation.decision import Decision


def options_of(yes_no: bool, options: str | None) -> Mapping[str, Sequence[str]]:
    """The options, and how each may be written. Raises UsageError for none, both, too few or equal ones."""
    from ...generation.decision import YES_NO

    if yes_no and options is not None:
        raise UsageError("--yes-no and --options cannot be combined", "ask twice")
    if yes_no:
        return YES_NO
    if options is None:
        raise UsageError("no options to choose from", "give --yes-no, or --options a,b,c")
    names = [name.strip() for name in options.split(",")]
    if twice := next((name for name in names if not name or names.count(name) > 1), None):
        raise UsageError(f"--options has {shown(twice)} twice")
    if len(names) < 2 or "" in names:
        raise UsageError(f"--options is {shown(options)}: must be two or more texts, separated by commas")
    return {name: (name,) for name in names}


def shown_decision(decision: Decision, answer: str, model: Path, *, as_json: bool) -> str:
    """The answer, or with `as_json` an object with all probabilities."""
    if not as_json:
        return answer
    return to_json(
        model=str(model),
        answer=answer,
        probabilities=dict(decision.probabilities),
        prompt_tokens=decision.prompt_tokens,
    )
