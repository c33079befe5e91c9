"""`llmlocal prune`: remove files that are no longer needed."""

from __future__ import annotations

from ..options.report import Confirmed, DryRun
from ..ui import terminal
from ..ui.confirm import ensure_confirmed


def prune(dry_run: DryRun = False, yes: Confirmed = False) -> None:
    """Remove files that are no longer needed.

    These are unfinished downloads, old revisions of models, and caches of other versions. Current models stay.

    \b
    Example: llmlocal prune --dry-run
    """
    from ...hub.removal import leftovers
    from ...hub.removal import prune as remove
    from ...text import format_bytes

    items = leftovers()
    for item in items:
        terminal.say(f"{item.what}: {format_bytes(item.size)}  {terminal.one_line(str(item.path))}")
    if not items:
        return terminal.note("nothing to remove")
    if not dry_run:
        ensure_confirmed("Remove?", yes)
        terminal.note(f"{format_bytes(remove(items))} freed")
