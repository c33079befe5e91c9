"""MODEL on the command line: names become files before a command runs; what is not here is offered or explained after.

A command sees a path in any case. One that is no file fails where it is opened, after the command has checked the rest
of what it was told; only then the user is asked whether to get the model, and the command runs once more.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NotFoundError
from .ui import terminal as ui

if TYPE_CHECKING:
    from ..gguf import GGUFFile


class ModelName(str):
    """A MODEL as it was typed."""

    __slots__ = ()


class Question(str):
    """A prompt that was typed where MODEL may stand."""

    __slots__ = ()


def model_or_question(text: str) -> ModelName | Question:
    """What the only positional is: a MODEL if it has no space or a file has that name, otherwise a question."""
    return Question(text) if any(map(str.isspace, text)) and not os.path.exists(text) else ModelName(text)


def with_models(command: Any) -> Any:
    """`command` (a parsed one, or a group) with its MODEL arguments resolved."""
    for other in getattr(command, "commands", {}).values():
        with_models(other)
    if command.callback:
        command.callback = _resolving(command.callback)
    return command


def _resolving(callback: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def call(*positional: Any, **options: Any) -> Any:
        missing: list[ModelName] = []
        found = {key: _resolved(value, missing) for key, value in options.items()}
        try:
            return callback(*positional, **found)
        except NotFoundError as error:
            name = next((name for name in missing if _is_about(error, name)), None)
            if name is None:
                raise
            if not _pulled(name, options):
                raise _told(name) from None
        return call(*positional, **options)

    return call


def _is_about(error: NotFoundError, name: str) -> bool:
    from ..text import escaped

    return str(error).startswith(f"{escaped(name)}: ")


def _resolved(value: Any, missing: list[ModelName]) -> Any:
    """Names as paths; those that are nowhere here stay as they are and are put into `missing`."""
    if isinstance(value, list | tuple) and any(isinstance(item, ModelName) for item in value):
        return [_resolved(item, missing) for item in value]
    if not isinstance(value, ModelName):
        return value
    path = _path(value)
    if path is None:
        missing.append(value)
    return path or Path(value)


@contextmanager
def opened_anywhere(path: Path) -> Iterator[GGUFFile]:
    """A model's file, or where it is not on this machine what the hub's header says of it. Raises as both do."""
    from ..gguf import open_gguf
    from ..hub.names import Ref, parse

    if path.exists() or not isinstance(parse(str(path)), Ref):
        with open_gguf(path) as gguf:
            yield gguf
        return
    from ..hub.pull import opened_remote

    with opened_remote(str(path)) as gguf:
        ui.note(f"{path} is not on this machine: this is what the hub has")
        yield gguf


def _path(name: str) -> Path | None:
    from ..hub.names import find_local

    return find_local(name)


def _told(name: str) -> NotFoundError:
    from ..hub.names import model_not_found

    return model_not_found(name)


def _pulled(name: str, options: dict[str, Any]) -> bool:
    """Get a model that the hub may have, if somebody is there who wants it."""
    from ..hub.names import Ref, parse

    streams = (sys.stdin, sys.stderr)
    if options.get("no_stdin") or not all(stream is not None and stream.isatty() for stream in streams):
        return False
    if not isinstance(parse(name), Ref):
        return False
    from .views.transfer import pull_one

    if not ui.confirm(f"{name} is not on this machine. Get it?"):
        return False
    pull_one(name, quiet=False, ask=True)
    return True
