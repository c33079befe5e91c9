"""`llmlocal replay`: runs a recorded answer again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ...errors import ThresholdError
from ...text import counted, shown
from ..options.engine import Threads, Yes
from ..options.models import RecordedModel
from ..options.prompts import RecordFile
from ..options.report import Json, Quiet
from ..ui import terminal
from ..views.model import to_json

if TYPE_CHECKING:
    from ...records.replay import Choice, Replay


def replay(
    file: RecordFile,
    model: RecordedModel = None,
    threads: Threads = None,
    yes: Yes = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a recorded answer again, and compare it token by token.

    Exits with code 0 where all tokens are the same, and with code 10 where one is not. Says at which token, and what
    has changed since: the model file, versions, the instruction set.

    \b
    Examples: llmlocal run qwen3-0.6b "Why is the sky blue?" --record sky.json
              llmlocal replay sky.json
    """
    from ...generation.session import Session
    from ...records import record as records
    from ...records.replay import replay as run

    record = records.read(file)
    path = model or Path(record.path)
    with (
        terminal.Screen(quiet=quiet) as screen,
        Session.open(path, n_threads=threads, force=yes, **record.settings) as session,
    ):
        screen.busy("loading the model")
        result = run(session, record, lambda n: screen.busy(f"answering, {n} of {len(record.answer)} tokens,"))
        screen.clear()
    _report(result, as_json=as_json, quiet=quiet)


def _report(result: Replay, *, as_json: bool, quiet: bool) -> None:
    """Print the result. Ends with exit code 10 where the answer is another one."""
    if as_json:
        fields = {**asdict(result), "environment": [*result.environment]}
        terminal.say(to_json(same=result.at is None, **fields))
        raise typer.Exit(0 if result.at is None else ThresholdError.exit_code)
    changed = "; ".join(result.environment) or "the model file, versions and instruction set are the same"
    if result.at is not None:
        said = f"token {result.at + 1} differs: {_named(result.now)}, recorded {_named(result.recorded)}"
        raise ThresholdError(said, changed)
    terminal.say(f"the same {counted(result.tokens, 'token')}")
    if result.environment and not quiet:
        terminal.note(changed)


def _named(choice: Choice | None) -> str:
    return "the end" if choice is None else f"{shown(choice.text)} ({choice.id})"
