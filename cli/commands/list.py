"""`llmlocal list`: the models on this machine, or those that can be downloaded by name."""

from __future__ import annotations

from ..options.models import Available
from ..options.report import Json
from ..ui import terminal
from ..ui.tables import show_table
from ..views.model import to_json
from ..views.models import available_table, installed_table


def list(available: Available = False, as_json: Json = False) -> None:
    """List the models on this machine.

    Shows name, size, quantization, architecture, last use, and which other tools share the file.

    \b
    Examples: llmlocal list
              llmlocal list --available
    """
    if available:
        from dataclasses import asdict

        from ...hub.catalog import catalog

        entries = sorted(catalog().entries.values(), key=lambda e: (e.parameters or 0, e.name))
        if as_json:
            return terminal.say(to_json(models=[asdict(entry) for entry in entries]))
        return show_table(available_table(entries))
    from ...hub.index import installed, record

    models = installed()
    if as_json:
        return terminal.say(to_json(models=[record(model) for model in models]))
    if not models:
        return terminal.note("no models yet: llmlocal list --available shows names, llmlocal pull NAME downloads one")
    show_table(installed_table(models))
