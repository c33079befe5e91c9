"""`llmlocal rm`: remove models from this machine."""

from __future__ import annotations

from ..options.models import Removed
from ..options.report import Confirmed, DryRun
from ..ui import terminal
from ..ui.confirm import ensure_confirmed


def rm(model: Removed, dry_run: DryRun = False, yes: Confirmed = False) -> None:
    """Remove models from this machine.

    Models are in the Hugging Face cache; other tools lose them, too. Files that another revision uses stay.

    \b
    Examples: llmlocal rm qwen3-0.6b:Q8_0
              llmlocal rm hf:org/repo:Q4_K_M -y
    """
    from ...hub.removal import find_models, freed_by, remove
    from ...text import format_bytes

    models = [found for text in model for found in find_models(text)]
    for found in models:
        tools = f", also used by {' and '.join(found.shared)}" if len(found.shared) > 1 else ""
        terminal.note(f"{found.name}: {format_bytes(freed_by(found))} in {found.path}{tools}")
    if dry_run:
        return
    ensure_confirmed("Remove?", yes)
    terminal.note(f"{format_bytes(sum(remove(found) for found in models))} freed")
