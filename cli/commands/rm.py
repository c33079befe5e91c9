"""`llmlocal rm`: remove models from the store."""

from __future__ import annotations

from .. import options as o
from ..ui import terminal as ui
from ..ui.confirm import ensure


def rm(model: o.Removed, dry_run: o.DryRun = False, yes: o.Yes = False) -> None:
    """Remove models from the store that all tools share. What another snapshot still names stays.

    \b
    Examples: llmlocal rm qwen3-0.6b:Q8_0
              llmlocal rm hf:org/repo:Q4_K_M -y
    """
    from ...hub.removal import find_models, freed_by, remove
    from ...text import format_bytes

    models = [found for text in model for found in find_models(text)]
    for found in models:
        tools = f", which {' and '.join(found.shared)} find there, too" if len(found.shared) > 1 else ""
        ui.note(f"{found.name}: {format_bytes(freed_by(found))} in {found.path}{tools}")
    if dry_run:
        return
    ensure("Remove?", yes)
    ui.note(f"{format_bytes(sum(remove(found) for found in models))} freed")
