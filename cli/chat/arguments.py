"""Splits what follows the name of a command in a chat."""

from __future__ import annotations

import os
from pathlib import Path


def path_of(text: str) -> Path:
    """A path as it was typed, with ~ for a home folder; of an unknown user it stays."""
    return Path(os.path.expanduser(text))


def first_word(text: str) -> tuple[str, str]:
    """The first word, which may be in quotes, and the rest."""
    if text[:1] in ("'", '"') and (end := text.find(text[0], 1)) > 0:
        return text[1:end], text[end + 1 :].strip()
    word, _, rest = text.partition(" ")
    return word, rest.strip()
