"""The result of running a recorded answer again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ...errors import ThresholdError
from ...text import shown
from ..ui import terminal
from .model import to_json

if TYPE_CHECKING:
    from ...records.replay import Choice, Replay

CHANGED = ThresholdError.exit_code


def report(result: Replay, *, as_json: bool, quiet: bool) -> bool:
    """Print the result, and return whether the answer is another one. Raises ThresholdError then, unless `as_json`."""
    if as_json:
        fields = asdict(result)
        terminal.say(to_json(same=result.at is None, **{**fields, "environment": [*result.environment]}))
        return result.at is not None
    changed = "; ".join(result.environment) or "the model file, versions and instruction set are the same"
    if result.at is not None:
        said = f"token {result.at + 1} differs: {_named(result.now)}, recorded {_named(result.recorded)}"
        raise ThresholdError(said, changed)
    terminal.say(f"the same {result.tokens} tokens")
    if result.environment and not quiet:
        terminal.note(changed)
    return False


def _named(choice: Choice | None) -> str:
    return "the end" if choice is None else f"{shown(choice.text)} ({choice.id})"
