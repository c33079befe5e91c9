"""`llmlocal list`: the models that are here, or those that have a name."""

from __future__ import annotations

from . import options as o
from . import ui
from .sheet import to_json
from .listing import age, columned


def list(available: o.Available = False, as_json: o.Json = False) -> None:
    """List the models on this machine: size, quantization, last use, and which other tools share them.

    \b
    Examples: llmlocal list
              llmlocal list --available
    """
    from ..memory import in_words

    if available:
        from dataclasses import asdict

        from ..hub.catalog import catalog

        entries = sorted(catalog().entries.values(), key=lambda e: (e.parameters or 0, e.name))
        if as_json:
            return ui.say(to_json(models=[asdict(entry) for entry in entries]))
        rows = [(e.name, f"{e.parameters or 0:g} B", f"{e.context or 0:,}", e.license or "", e.repo) for e in entries]
        return ui.lines(columned(("NAME", "SIZE", "CONTEXT", "LICENSE", "REPOSITORY"), rows, right=(1, 2)))
    from ..hub.index import installed, record

    models = installed()
    if as_json:
        return ui.say(to_json(models=[record(model) for model in models]))
    if not models:
        return ui.note("no models yet: llmlocal list --available shows names, llmlocal pull gets one")
    rows = [
        (m.name, in_words(m.size), m.quant or "?", m.architecture or "?", age(m.used), "old" if m.old else ", ".join(m.shared))
        for m in models
    ]
    ui.lines(columned(("NAME", "SIZE", "QUANT", "KIND", "USED", "SHARED WITH"), rows, right=(1,)))
