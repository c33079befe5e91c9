"""`llmlocal path`: where a model's file is."""

from __future__ import annotations

from .. import options as o
from ..ui import terminal


def path(model: o.Model) -> None:
    """Print the file of a model that is on this machine (the first part of a split one). No network.

    \b
    Example: llmlocal path model.gguf
             llama-cli -m "$(llmlocal path qwen3-0.6b)"
    """
    from ...errors import NotFoundError
    from ...text import escaped

    if not model.is_file():
        raise NotFoundError(f"{escaped(str(model))}: no such file")
    terminal.say(str(model))
