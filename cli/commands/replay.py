"""`llmlocal replay`: runs a recorded answer again."""

from __future__ import annotations

from pathlib import Path

import typer

from ..options.common import Json, Quiet, Threads, Yes
from ..options.records import RecordFile, ReplayModel
from ..ui import terminal
from ..views.replay import CHANGED, report


def replay(
    file: RecordFile,
    model: ReplayModel = None,
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
    if report(result, as_json=as_json, quiet=quiet):
        raise typer.Exit(CHANGED)
