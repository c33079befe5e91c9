"""What `serve` is given: models by name, and durations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import UsageError
from ..text import escaped
from .model_argument import local_or_pulled
from .open_model import guide
from .ui import terminal
from .ui.keyboard import interactive

PACKAGES = ("starlette", "uvicorn")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def require_packages() -> None:
    """Raises UsageError with the command that installs them where the server's packages are missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(f"serve needs {' and '.join(missing)}", "pip install 'llmlocal[serve]'")


def paths_of(models: Sequence[str], *, quiet: bool) -> dict[str, Path]:
    """The files of models by the names under which they are served: as typed, for files without folder and ending.

    Raises NotFoundError, UsageError for two of one name.
    """
    if not models:
        return {"guide": guide(quiet=quiet)}
    found: dict[str, Path] = {}
    for text in models:
        path = local_or_pulled(text, lambda question: interactive() and terminal.confirm(question))
        name = path.stem if Path(text) == path else text
        if name in found:
            raise UsageError(f"two models are called {escaped(name)}", "rename one of the files")
        found[name] = path
    return found


def check_adapted(paths: Mapping[str, Path], lora: Sequence[object]) -> None:
    """Raises UsageError for adapters beside several models: which of them they change would be a guess."""
    if lora and len(paths) > 1:
        raise UsageError(f"--lora changes one model, {len(paths)} are served", "serve the others by another process")


def seconds(text: str | None) -> float | None:
    """A duration such as 90s, 10m, 2h. Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--idle-unload {escaped(text)}: must be a duration", "such as 90s, 10m or 2h")
    return float(int(match[1]) * UNITS[match[2]])
