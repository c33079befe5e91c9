"""A download on the screen: size and memory beforehand, then progress."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from ...text import counted, format_bytes
from ..ui import terminal

if TYPE_CHECKING:
    from ...hub.pull import PullPlan
    from ...hub.remote_file import DownloadNotice

REDRAW = 0.1  # seconds between two drawings


class Meter:
    """Draws the events of transfers: a bar for bytes, notes for texts."""

    def __init__(self, screen: terminal.Screen) -> None:
        self._screen = screen
        self._drawn = 0.0

    def __call__(self, event: DownloadNotice) -> None:
        if isinstance(event, str):
            return self._screen.notes([event])
        now = monotonic()
        if now - self._drawn >= REDRAW or event.done == event.total:
            self._drawn = now
            self._screen.transfer(event.name.rsplit("/", 1)[-1], event.done, event.total)


def is_whole(path: Path, screen: terminal.Screen) -> bool:
    """Check a GGUF file that is not in the store, and print what was found."""
    from ...errors import BadFileError
    from ...model_info.intact import check_intact

    try:
        tensors = check_intact(path, lambda done, total: screen.progress("checking", done >> 20, total >> 20, " MiB"))
    except BadFileError as error:
        screen.lines([f"damaged: {error}"])
        return False
    screen.lines([f"ok: {path}: structure, sizes and the numbers of {counted(tensors, 'tensor')}"])
    return True


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
    """Plan a download, say what it needs, and run it; `ask`: ask for the size first. Raises what `hub.pull` does."""
    from ...errors import ResourceError
    from ...hub.pull import plan, pull

    with terminal.Screen(quiet=quiet) as screen:
        screen.status(f"asking the hub about {text}")
        planned = plan(text, **options)
        screen.notes(_notes(planned))
        if not yes:
            planned.check()
        if dry_run:
            return planned, planned.path
        if ask and not terminal.confirm(f"{format_bytes(planned.fetch)} to download. Continue?"):
            raise ResourceError("not downloaded", f"llmlocal pull {text}")
        try:
            return planned, pull(planned, Meter(screen), force=force)
        except KeyboardInterrupt:
            screen.notes(["interrupted; the part that was downloaded is kept, and the same command continues it"])
            raise


def _notes(plan: PullPlan) -> list[str]:
    """What a user should know before a download."""
    parts = f" in {len(plan.variant.files)} parts" if len(plan.variant.files) > 1 else ""
    size, fetch, memory = plan.variant.size, plan.fetch, plan.memory
    here = "" if fetch == size else ", already downloaded" if not fetch else f", {format_bytes(fetch)} left to download"
    said = [
        f"{plan.variant.name} of {plan.listing.repo}: {format_bytes(size)}{parts}{here}; "
        f"{format_bytes(plan.free_disk)} of disk free"
    ]
    if plan.listing.now:
        said.append(f"{plan.listing.repo} is now called {plan.listing.now}")
    if plan.why:
        others = ", ".join(dict.fromkeys(v.quant or v.name for v in plan.others))
        said.append(f"{plan.why}" + (f" (also available: {others})" if others else ""))
    total = format_bytes(plan.total_memory)
    said.append(
        f"needs {format_bytes(memory.total)} of this machine's {total} of memory at a context of {memory.n_ctx:,}"
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
