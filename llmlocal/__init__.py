"""Language models on the CPU, from Python: `llmlocal.load` opens a model. docs/python-api.md shows everything.

Importing this is cheap: what computes is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    BadFileError,
    IncompleteError,
    LlmlocalError,
    NetworkError,
    NotFoundError,
    PromptTooLongError,
    ResourceError,
    UsageError,
)

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "BadFileError",
    "Call",
    "Chat",
    "IncompleteError",
    "LlmlocalError",
    "Model",
    "NetworkError",
    "NotFoundError",
    "Options",
    "Part",
    "PromptTooLongError",
    "ResourceError",
    "Stream",
    "Timings",
    "UsageError",
    "load",
]

if TYPE_CHECKING:
    from .api.answer import Answer, Stream, Timings
    from .api.chat import Chat
    from .api.model import Model, load
    from .api.options import Options
    from .chat_format.notations.call import Call
    from .chat_format.tag_splitter import Part
else:
    _PLACES = {
        "Answer": "api.answer",
        "Call": "chat_format.notations.call",
        "Chat": "api.chat",
        "Model": "api.model",
        "Options": "api.options",
        "Part": "chat_format.tag_splitter",
        "Stream": "api.answer",
        "Timings": "api.answer",
        "load": "api.model",
    }

    def __getattr__(name: str) -> Any:
        """A name of the API, imported when it is first used."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
