"""The built-in model that answers questions about llmlocal: `guide.gguf` beside this file. Made by tools/guide."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

FILE = "guide.gguf"


def path() -> Path:
    """The guide's file, in a checkout as in an installed wheel."""
    return Path(str(files(__name__).joinpath(FILE)))
