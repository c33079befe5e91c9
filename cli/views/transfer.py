"""A download as people follow it: what it will take, how fast it is, how long it will last. Draws through `ui`."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from ...text import format_bytes
from ..ui import terminal as ui

if TYPE_CHECKING:
    from ...hub.pull import PullPlan
    from ...hub.remote_file import DownloadNotice

WINDOW = 5.0  # seconds over which the speed is measured
REDRAW = 0.1


class Meter:
    """Turns the events of transfers into a line that is drawn over, and notes."""

    def __init__(self, screen: ui.Screen) -> None:
        self._screen = screen
        self._seen: deque[tuple[float, int]] = deque()
        self._drawn = 0.0
        self._name = ""

    def __call__(self, event: DownloadNotice) -> None:
        if isinstance(event, str):
            return self._screen.notes([event])
        now = monotonic()
        if event.name != self._name:
            self._name = event.name
            self._seen.clear()
        self._seen.append((now, event.done))
        while now - self._seen[0][0] > WINDOW:
            self._seen.popleft()
        if now - self._drawn < REDRAW and event.done < event.total:
            return
        self._drawn = now
        (since, before), name = self._seen[0], event.name.rsplit("/", 1)[-1]
        speed = (event.done - before) / (now - since) if now > since else 0.0
        rate = f", {format_bytes(round(speed))}/s" if speed else ""
        left = f", {ui.clock((event.total - event.done) / speed)} left" if speed and event.done < event.total else ""
        share = f"{event.done / event.total:.0%} of {format_bytes(event.total)}"
        self._screen.status(f"{share}{rate}{left}  {name}")


def pull_one(
    text: str,
    *,
    quiet: bool,
    ask: bool = False,
    yes: bool = False,
    force: bool = False,
    dry_run: bool = False,
    **options: Any,
) -> tuple[PullPlan, Path]:
    """Plan, say what it takes, and get it; `ask`: a person may still say no to a size. Raises what `hub.pull` does."""
    from ...errors import ResourceError
    from ...hub.pull import plan, pull

    with ui.Screen(quiet=quiet) as screen:
        screen.status(f"asking the hub about {text}")
        planned = plan(text, **options)
        screen.notes(_notes(planned))
        if not yes:
            planned.check()
        if dry_run:
            return planned, planned.path
        if ask and not ui.confirm(f"{format_bytes(planned.fetch)} to download. Go on?"):
            raise ResourceError("not downloaded", f"llmlocal pull {text}")
        try:
            return planned, pull(planned, Meter(screen), force=force)
        except KeyboardInterrupt:
            screen.notes(["stopped; what came is kept, and the same command goes on"])
            raise


def _notes(plan: PullPlan) -> list[str]:
    """What a user should know before a download."""
    parts = f" in {len(plan.variant.files)} parts" if len(plan.variant.files) > 1 else ""
    size, fetch, memory = plan.variant.size, plan.fetch, plan.memory
    here = (
        "" if fetch == size else ", all of it here already" if not fetch else f", {format_bytes(fetch)} of it to fetch"
    )
    said = [
        f"{plan.variant.name} of {plan.listing.repo}: {format_bytes(size)}{parts}{here}; "
        f"{format_bytes(plan.free_disk)} of disk are free"
    ]
    if plan.listing.now:
        said.append(f"{plan.listing.repo} is now called {plan.listing.now}")
    if plan.why:
        others = ", ".join(dict.fromkeys(v.quant or v.name for v in plan.others))
        said.append(f"{plan.why}" + (f" (there are also {others})" if others else ""))
    total = format_bytes(plan.total_memory)
    said.append(
        f"it takes {format_bytes(memory.total)} of this machine's {total} of memory "
        f"with {memory.n_ctx:,} tokens of context"
    )
    return said


def record(plan: PullPlan, path: Path) -> dict[str, Any]:
    """A pull as a JSON object has it."""
    memory = plan.memory
    return {
        "model": plan.ref.text,
        "repo": plan.listing.repo,
        "renamed_to": plan.listing.now,
        "commit": plan.listing.commit,
        "license": plan.listing.license,
        "quant": plan.variant.quant,
        "path": str(path),
        "bytes": plan.variant.size,
        "bytes_to_fetch": plan.fetch,
        "free_disk_bytes": plan.free_disk,
        "memory": {"context": memory.n_ctx, "bytes": memory.total, "machine_bytes": plan.total_memory},
        "files": [{"name": f.name, "bytes": f.size, "digest": f.digest} for f in plan.variant.files],
        "others": [{"quant": v.quant, "name": v.name, "bytes": v.size} for v in plan.others],
    }
