"""MODEL on the command line: a name becomes the path of a file before the command runs.

For a model that is not on this machine the command runs with the name as the path and fails where it opens the file,
after it has checked its other options; only then the user is asked whether to download it, and the command runs again.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NotFoundError, UsageError
from .ui import terminal

if TYPE_CHECKING:
    from ..gguf import GGUFFile


class ModelName(str):
    """A MODEL as it was typed."""

    __slots__ = ()


class Question(str):
    """A prompt that was typed where MODEL may stand."""

    __slots__ = ()


def model_or_question(text: str) -> ModelName | Question:
    """Read the first argument: a MODEL if it has no space or a file has that name, otherwise a question."""
    return Question(text) if any(map(str.isspace, text)) and not os.path.exists(text) else ModelName(text)


def draft_name(text: str) -> ModelName | str:
    """Read the argument of --draft: a MODEL, or auto."""
    return text if text == "auto" else ModelName(text)


NAMES = ("path", ModelName.__name__, model_or_question.__name__, draft_name.__name__)  # types of the parser


def with_models(command: Any) -> Any:
    """`command` (a parsed one, or a group), whose MODEL arguments become paths; names of files are not empty."""
    for other in getattr(command, "commands", {}).values():
        with_models(other)
    for parameter in command.params:
        if parameter.type.name in NAMES or (parameter.metavar or "").startswith("MODEL"):
            parameter.type = copy(parameter.type)  # which other parameters may share
            parameter.type.convert = functools.partial(_not_empty, parameter.type.convert)
    if command.callback:
        command.callback = _with_paths(command.callback)
    return command


def _not_empty(convert: Callable[..., Any], value: Any, parameter: Any, ctx: Any) -> Any:
    """What `convert` makes of a name; an empty one, as of a variable that is not set, would be the present folder."""
    if value == "" and not ctx.resilient_parsing:
        where = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
        raise UsageError(f"{where} is an empty text", "is a variable of the shell not set?")
    return convert(value, parameter, ctx)


def _with_paths(callback: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def call(*positional: Any, **options: Any) -> Any:
        missing: list[ModelName] = []
        found = {key: _resolve(value, missing) for key, value in options.items()}
        try:
            return callback(*positional, **found)
        except NotFoundError as error:
            name = next((name for name in missing if _is_about(error, name)), None)
            if name is None:
                raise
            if not _offer_download(name, options):
                raise _unknown(name) from None
        return call(*positional, **options)

    return call


def _is_about(error: NotFoundError, name: str) -> bool:
    from ..text import escaped

    return str(error).startswith(f"{escaped(name)}: ")


def _resolve(value: Any, missing: list[ModelName]) -> Any:
    """Names as paths; a name without a file on this machine stays and is added to `missing`."""
    if isinstance(value, list | tuple) and any(isinstance(item, ModelName) for item in value):
        return [_resolve(item, missing) for item in value]
    if not isinstance(value, ModelName):
        return value
    path = _path(value)
    if path is None:
        missing.append(value)
    return path or Path(value)


@contextmanager
def open_local_or_remote(path: Path) -> Iterator[GGUFFile]:
    """Open a model's file, or its header on the hub if it is not on this machine. Raises what both raise."""
    from ..gguf import open_gguf
    from ..hub.names import Ref, parse

    if path.exists() or not isinstance(parse(str(path)), Ref):
        with open_gguf(path) as gguf:
            yield gguf
        return
    from ..hub.pull import opened_remote

    with opened_remote(str(path)) as gguf:
        terminal.note(f"{path} is not on this machine: read from the hub")
        yield gguf


def _path(name: str) -> Path | None:
    if not name.startswith("hf:") and os.path.isfile(name):
        return Path(name)  # as `find_local` says, without what it loads
    from ..hub.names import find_local

    return find_local(name)


def _unknown(name: str) -> NotFoundError:
    from ..hub.names import model_not_found

    return model_not_found(name)


def local_or_pulled(name: str, agreed: Callable[[str], bool]) -> Path:
    """The file of a MODEL; one that is not on this machine is downloaded where `agreed` to the question.

    Raises NotFoundError, and what `pull_one` raises.
    """
    from ..hub.names import Ref, parse
    from .views.transfer import pull_one

    if (path := _path(name)) is not None:
        return path
    if not isinstance(parse(name), Ref) or not agreed(f"{name} is not on this machine. Download it?"):
        raise _unknown(name)
    return pull_one(name, quiet=False)[1]


def _offer_download(name: str, options: dict[str, Any]) -> bool:
    """Ask whether to download a model, and do it; false if nobody can be asked, or the answer is no."""
    from ..hub.names import Ref, parse

    streams = (sys.stdin, sys.stderr)
    if options.get("no_stdin") or not all(stream is not None and stream.isatty() for stream in streams):
        return False
    if not isinstance(parse(name), Ref):
        return False
    from .views.transfer import pull_one

    if not terminal.confirm(f"{name} is not on this machine. Download it?"):
        return False
    pull_one(name, quiet=False, ask=True)
    return True
