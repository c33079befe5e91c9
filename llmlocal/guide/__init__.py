"""The built-in model that answers questions about llmlocal: `guide.gguf` in this folder, trained by tools/guide."""

from __future__ import annotations

from pathlib import Path

FILE = "guide.gguf"


def path() -> Path:
    """Path of the guide's model file, in a checkout and in an installed wheel."""
    return Path(__file__).with_name(FILE)
