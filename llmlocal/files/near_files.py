"""Files with a similar name, for a hint where one was not found."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from ..text import escaped

SIMILAR, MOST = 0.75, 3  # from 0 to 1: how much a name must resemble another one to be offered; names in a hint
ENDING = ".gguf"


def did_you_mean(text: str) -> str:
    """A hint with the similar names of models in the folder of the path `text`; empty for none."""
    path = Path(text)
    try:
        held = [file.name.removesuffix(ENDING) for file in path.parent.glob(f"*{ENDING}")] if path.name else []
    except (OSError, ValueError):
        return ""
    near = get_close_matches(path.name.removesuffix(ENDING), held, MOST, SIMILAR)
    return f"did you mean {', '.join(escaped(str(path.with_name(name + ENDING))) for name in near)}?" if near else ""
