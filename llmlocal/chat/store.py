"""Conversations on disk, a file each: JSON lines that are only ever appended. Knows no model and no terminal.

The first line says what the session is, every further one what happened: a turn, an undo, a new system text. A line
counts once its line feed is on the disk, so that a crash can cost no more than the line that was being written.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import BadFileError, NotFoundError, ResourceError, UsageError
from ..text import escaped
from .conversation import Conversation, Turn

SCHEMA = 1
ENDING = ".jsonl"
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
TITLE = 60  # characters of the first question that stand for a session


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file holds: its first line, the conversation, and when it was last written to."""

    id: str
    created: str
    model: str
    conversation: Conversation
    changed: float
    nbytes: int

    @property
    def title(self) -> str:
        turns = self.conversation.turns
        return " ".join(turns[0].question.split())[:TITLE] if turns else ""


@dataclass(slots=True)
class SessionFile:
    """A session that is being written. The file is made with the first line after the header: no chat, no file."""

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    _handle: int | None = None

    @property
    def id(self) -> str:
        return self.path.name.removesuffix(ENDING)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line and wait until it is on the disk. Raises ResourceError where it cannot be, or is in use."""
        try:
            if self._handle is None:
                self._handle = _opened(self.path)
            begun = os.fstat(self._handle).st_size > 0
            header = {"schema": SCHEMA, "created": _now(), **self.header}
            self._write(*([] if begun else [header]), {**record, "time": _now()})
            if not begun:
                _sync_folder(self.path.parent)
        except BlockingIOError:
            raise ResourceError(f"the session {self.id} is open in another chat", "--no-save keeps nothing") from None
        except OSError as error:
            raise ResourceError(f"{escaped(str(self.path))}: cannot be written: {error.strerror}") from error

    def turn(self, turn: Turn, **more: Any) -> None:
        """Add a turn that has ended."""
        self.append({"type": "turn", "messages": turn.messages, **more})

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None

    def _write(self, *records: Mapping[str, Any]) -> None:
        """All lines in one call: a process that is killed writes them all or none."""
        data = b"".join(json.dumps(record, ensure_ascii=True).encode() + b"\n" for record in records)
        assert self._handle is not None
        while data:
            data = data[os.write(self._handle, data) :]
        os.fsync(self._handle)


def folder() -> Path:
    """The user's folder of sessions."""
    from platformdirs import user_data_path

    return user_data_path("llmlocal") / "sessions"


def new(model: str, system: str | None, where: Path | None = None) -> SessionFile:
    """A session of its own name, by the time of day."""
    id = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    return SessionFile((where or folder()) / (id + ENDING), {"model": model, "system": system})


def named(id: str, model: str, system: str | None, where: Path | None = None) -> SessionFile:
    """The session `id`, which may not be there yet. Raises UsageError for a name that is none."""
    if not ID.fullmatch(id):
        raise UsageError(f"{escaped(id)} is no name for a session", "use letters, digits, - _ and .")
    return SessionFile((where or folder()) / (id + ENDING), {"model": model, "system": system})


def find(id: str, where: Path | None = None) -> str:
    """The whole id of a session, of which `id` may be a beginning that no other has. Raises NotFoundError."""
    where = where or folder()
    names = [path.name.removesuffix(ENDING) for path in _files(where)]
    fitting = [name for name in names if name == id] or [name for name in names if name.startswith(id)]
    if not id or not fitting:
        raise NotFoundError(f"no session {escaped(id)}", "llmlocal sessions ls lists them")
    if len(fitting) > 1:
        raise NotFoundError(f"{escaped(id)} is the beginning of {len(fitting)} sessions", f"such as {fitting[0]}")
    return fitting[0]


def load(id: str, where: Path | None = None) -> Saved:
    """A session by its id or a beginning of it. Raises NotFoundError and BadFileError."""
    where = where or folder()
    return read(where / (find(id, where) + ENDING))


def latest(where: Path | None = None) -> Saved:
    """The session that was last written to. Raises NotFoundError where there is none, BadFileError."""
    files = _files(where or folder())
    if not files:
        raise NotFoundError("there is no session to continue", "llmlocal chat MODEL starts one")
    return read(max(files, key=lambda path: path.stat().st_mtime_ns))


def listing(where: Path | None = None) -> Iterator[Saved | BadFileError]:
    """All sessions, the latest first; in the place of a damaged one, what is wrong with it."""
    for path in sorted(_files(where or folder()), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            yield read(path)
        except BadFileError as error:
            yield error


def remove(id: str, where: Path | None = None) -> None:
    """Remove a session by its whole id, damaged or not. Raises NotFoundError."""
    path = (where or folder()) / (id + ENDING)
    if not ID.fullmatch(id) or path not in _files(where or folder()):
        raise NotFoundError(f"no session {escaped(id)}", "llmlocal sessions ls lists them")
    path.unlink()


def read(path: Path) -> Saved:
    """What a file holds, up to a last line that was not finished. Raises BadFileError."""
    try:
        with path.open("rb") as file:
            stat, lines = os.fstat(file.fileno()), file.read().split(b"\n")[:-1]
    except OSError as error:
        raise BadFileError(f"{escaped(str(path))}: cannot be read: {error.strerror}") from None
    if not lines:
        raise BadFileError(f"{escaped(path.name)}: holds nothing", "sessions rm removes it")
    try:
        header = _record(lines[0])
        if header.get("schema") != SCHEMA:
            raise ValueError("was made by another version")
        system = header.get("system")
        conversation = Conversation(system if isinstance(system, str) else None)
        for number, line in enumerate(lines[1:], 2):
            _replay(conversation, _record(line), number)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"{escaped(path.name)}: {escaped(str(error))[:200]}"
        raise BadFileError(message, "sessions rm removes it") from None
    id = path.name.removesuffix(ENDING)
    created, model = str(header.get("created", "")), str(header.get("model", ""))
    return Saved(id, created, model, conversation, stat.st_mtime, stat.st_size)


def _replay(conversation: Conversation, record: Mapping[str, Any], number: int) -> None:
    """What one line did to the conversation; lines of unknown types are left out."""
    kind = record.get("type")
    if kind == "turn":
        messages = record["messages"]
        if not messages or not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages):
            raise ValueError(f"line {number} is no turn")
        conversation.turns.append(Turn([dict(message) for message in messages]))
    elif kind == "undo":
        conversation.undo()
    elif kind == "clear":
        conversation.clear()
    elif kind == "system":
        conversation.system = None if record["text"] is None else str(record["text"])
    elif kind == "drop":
        conversation.drop(max(0, int(record["turns"])))
    elif kind == "summary":
        conversation.summarize(str(record["text"]), max(0, int(record["upto"])))


def _record(line: bytes) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a line is no record")
    return found


def _files(where: Path) -> list[Path]:
    try:
        found = [path for path in where.iterdir() if path.name.endswith(ENDING) and path.is_file()]
        return sorted(path for path in found if path.stat().st_size)  # an empty one was not begun
    except OSError:
        return []


def _opened(path: Path) -> int:
    """The file, ready for a whole line: locked, and without a last line that was not finished."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with suppress(ImportError):
            from fcntl import LOCK_EX, LOCK_NB, flock

            flock(handle, LOCK_EX | LOCK_NB)
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            os.ftruncate(handle, data.rfind(b"\n") + 1)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _sync_folder(where: Path) -> None:
    """Let the new name survive a power cut, too."""
    if os.name == "posix":
        handle = os.open(where, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
