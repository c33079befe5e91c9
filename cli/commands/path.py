"""`llmlocal path`: where a model's file is."""

from __future__ import annotations

from ..options.models import Model
from ..ui import terminal


def path(model: Model) -> None:
    """Print the path of a model's file.

    For a split model it is the first part. Only looks on this machine.

    \b
    Examples: llmlocal path qwen3-0.6b
              llama-cli -m "$(llmlocal path qwen3-0.6b)"
    """
    from ...errors import NotFoundError
    from ...text import escaped

    if not model.is_file():
        what = "not a file" if model.exists() else "no such file"
        raise NotFoundError(f"{escaped(str(model))}: {what}")
    terminal.say_path(model)
