"""`llmlocal prune`: remove what nobody needs any more."""

from __future__ import annotations

from .. import options as o
from ..ui import terminal
from ..ui.confirm import ensure


def prune(dry_run: o.DryRun = False, yes: o.Yes = False) -> None:
    """Remove stopped downloads, old revisions that newer ones replace, and caches of other versions. Models stay.

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
        ensure("Remove?", yes)
        terminal.note(f"{format_bytes(remove(items))} freed")
