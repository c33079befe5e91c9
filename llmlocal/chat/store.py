"""Saved sessions: one file for each conversation, JSON lines that are only ever appended.

The first line describes the session, each further one is an event: a turn, an undo, a new system prompt. A line counts
once its line feed is on disk, so that a crash costs at most the line that was being written.
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
from ..files.disk import sync_folder
from ..quant.private_folder import make_private, why_foreign, why_foreign_file
from ..quant.user_folders import user_folder
from ..text import encodable, escaped
from .conversation import Conversation, Turn

SCHEMA = 1
ENDING = ".jsonl"
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
GIVEN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")  # of a session that was started without a name
PRIVATE = "let only yourself write the folder and the file; use --no-save to chat without saving"
TITLE = 60  # characters of the first question that are the title of a session


@dataclass(frozen=True, slots=True)
class SavedSession:
    """The contents of a session file. `changed` is when it was last written, in seconds since the epoch."""

    id: str
    created: str
    model: str
    conversation: Conversation
    changed: float
    nbytes: int
    settings: Mapping[str, Any] = field(default_factory=dict)  # sampling and others, as they were last

    @property
    def title(self) -> str:
        turns = self.conversation.turns
        return " ".join(turns[0].question.split())[:TITLE] if turns else ""


@dataclass(slots=True)
class SessionFile:
    """A session that is being written. The file is created with the first record: no turn, no file."""

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    _handle: int | None = None
    _last: str = ""  # the type of the last record

    @property
    def id(self) -> str:
        return self.path.name.removesuffix(ENDING)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record and wait until it is on disk. Raises ResourceError if it cannot be written or is in use."""
        try:
            if self._handle is None:
                self._handle = _opened(self.path)
            started = os.fstat(self._handle).st_size > 0
            header = {"schema": SCHEMA, "created": _now(), **self.header}
            self._write(*([] if started else [header]), {**record, "time": _now()})
            self._last = record["type"]
            if not started:
                sync_folder(self.path.parent)
        except BlockingIOError:
            message = f"the session {self.id} is open in another chat"
            raise ResourceError(message, "close that chat, or use --no-save") from None
        except OSError as error:
            raise ResourceError(f"{escaped(str(self.path))}: cannot be written: {error.strerror}") from error

    def turn(self, turn: Turn, **more: Any) -> None:
        """Add a finished turn."""
        self.append({"type": "turn", "messages": turn.messages, **more})

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None

    def close_empty(self) -> None:
        """Close a session without turns. Where the last one was taken back, and its name is ours, it is removed."""
        if self._handle is not None and self._last == "undo" and GIVEN_ID.fullmatch(self.id):
            with suppress(OSError):
                self.path.unlink()
        self.close()

    def _write(self, *records: Mapping[str, Any]) -> None:
        """Write all lines with one call, so that a process that is killed writes all of them or none."""
        data = b"".join(json.dumps(record, ensure_ascii=True).encode() + b"\n" for record in records)
        assert self._handle is not None
        while data:
            data = data[os.write(self._handle, data) :]
        os.fsync(self._handle)


def folder() -> Path:
    """The user's folder of saved sessions."""
    return user_folder("data") / "sessions"


def new(
    model: str, system: str | None, where: Path | None = None, settings: Mapping[str, Any] | None = None
) -> SessionFile:
    """A new session, named after the time; `settings` are those that were given."""
    id = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    return SessionFile((where or folder()) / (id + ENDING), _header(model, system, settings))


def _header(model: str, system: str | None, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"model": model, "system": system, **({"settings": dict(settings)} if settings else {})}


def named(
    id: str, model: str, system: str | None, where: Path | None = None, settings: Mapping[str, Any] | None = None
) -> SessionFile:
    """The session `id`, which need not exist yet. Raises UsageError for an invalid name."""
    if not ID.fullmatch(id):
        raise UsageError(f"{escaped(id)} cannot be the name of a session", "use letters, digits, - _ and .")
    return SessionFile((where or folder()) / (id + ENDING), _header(model, system, settings))


def find(id: str, where: Path | None = None) -> str:
    """The full id of the session whose id is `id`, or the only one that starts with it. Raises NotFoundError."""
    known = names(where)
    matches = [name for name in known if name == id] or [name for name in known if name.startswith(id)]
    if not id or not matches:
        raise NotFoundError(f"no session {escaped(id)}", "list them with llmlocal sessions ls")
    if len(matches) > 1:
        raise NotFoundError(f"{len(matches)} sessions start with {escaped(id)}", f"such as {matches[0]}")
    return matches[0]


def names(where: Path | None = None) -> list[str]:
    """The ids of all sessions, damaged or not."""
    return [path.name.removesuffix(ENDING) for path in _files(where or folder())]


def load(id: str, where: Path | None = None) -> SavedSession:
    """A session by its id or the beginning of it. Raises NotFoundError and BadFileError."""
    where = where or folder()
    return read(where / (find(id, where) + ENDING))


def latest(where: Path | None = None) -> SavedSession:
    """The session that was written to last. Raises NotFoundError if there is none, and BadFileError."""
    files = _files(where or folder())
    if not files:
        raise NotFoundError("there is no session to continue", "start one with llmlocal chat MODEL")
    return read(max(files, key=lambda path: path.stat().st_mtime_ns))


def listing(where: Path | None = None) -> Iterator[SavedSession | BadFileError]:
    """All sessions, the latest first; for a damaged one, the error."""
    for path in sorted(_files(where or folder()), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            yield read(path)
        except BadFileError as error:
            yield error


def remove(id: str, where: Path | None = None) -> None:
    """Remove a session by its full id, damaged or not. Raises NotFoundError."""
    path = (where or folder()) / (id + ENDING)
    if not ID.fullmatch(id) or path not in _files(where or folder()):
        raise NotFoundError(f"no session {escaped(id)}", "list them with llmlocal sessions ls")
    path.unlink()


def read(path: Path) -> SavedSession:
    """Read a session file; an unfinished last line is ignored. Raises BadFileError."""
    try:
        with path.open("rb") as file:
            if reason := why_foreign(path.parent) or why_foreign_file(path, file.fileno()):
                raise BadFileError(f"{escaped(path.name)} is not read: {escaped(reason)}", PRIVATE)
            stat, lines = os.fstat(file.fileno()), file.read().split(b"\n")[:-1]
    except OSError as error:
        raise BadFileError(f"{escaped(str(path))}: cannot be read: {error.strerror}") from None
    if not lines:
        raise BadFileError(f"{escaped(path.name)}: is empty", "remove it with llmlocal sessions rm")
    try:
        header = _record(lines[0])
        if header.get("schema") != SCHEMA:
            raise ValueError("was written by another version of llmlocal")
        system = header.get("system")
        conversation = Conversation(system if isinstance(system, str) else None)
        settings = dict(header["settings"]) if isinstance(header.get("settings"), dict) else {}
        model = str(header.get("model", ""))
        for number, line in enumerate(lines[1:], 2):
            record = _record(line)
            _replay(conversation, record, number)
            if record.get("type") == "model":
                model = _text(record, "model", number)
            elif record.get("type") == "set":
                settings[_text(record, "name", number)] = record["value"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        message = f"{escaped(path.name)}: {escaped(str(error))[:200]}"
        raise BadFileError(message, "remove it with llmlocal sessions rm") from None
    id = path.name.removesuffix(ENDING)
    created = str(header.get("created", ""))
    return SavedSession(id, created, model, conversation, stat.st_mtime, stat.st_size, settings)


def _replay(conversation: Conversation, record: Mapping[str, Any], number: int) -> None:
    """Apply one record to the conversation; records of unknown types are ignored."""
    kind = record.get("type")
    if kind == "turn":
        messages = record["messages"]
        if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
            raise ValueError(f"line {number} is not a valid turn")
        conversation.turns.append(Turn([dict(message) for message in messages]))
    elif kind == "undo":
        conversation.undo()
    elif kind == "clear":
        conversation.clear()
    elif kind == "system":
        conversation.system = None if record["text"] is None else _text(record, "text", number)
    elif kind == "drop":
        conversation.drop(_number(record, "turns", number))
    elif kind == "summary":
        conversation.summarize(_text(record, "text", number), _number(record, "upto", number))


def _is_message(message: Any) -> bool:
    """Whether a message has the fields that we write, each of its kind."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    texts = ("content", "reasoning_content", "name", "tool_call_id")
    if not all(isinstance(message.get(key), str | None) for key in texts):
        return False
    calls = message.get("tool_calls") or []
    return isinstance(calls, list) and all(
        isinstance(call, dict) and isinstance(call.get("function"), dict) for call in calls
    )


def _text(record: Mapping[str, Any], key: str, number: int) -> str:
    if not isinstance(found := record[key], str):
        raise ValueError(f"line {number}: {key} is not a text")
    return found


def _number(record: Mapping[str, Any], key: str, number: int) -> int:
    found = record[key]
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise ValueError(f"line {number}: {key} is not a whole number of 0 or more")
    return found


def _record(line: bytes) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a line is not a JSON object")
    return dict(encodable(found))


def _files(where: Path) -> list[Path]:
    try:
        found = [path for path in where.iterdir() if path.name.endswith(ENDING) and path.is_file()]
        return sorted(path for path in found if path.stat().st_size)  # empty: created, never written
    except OSError:
        return []


def _opened(path: Path) -> int:
    """Open and lock a session file for appending; an unfinished last line is cut off."""
    make_private(path.parent)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if reason := why_foreign(path.parent) or why_foreign_file(path, handle):
            raise ResourceError(f"the session is not saved: {escaped(reason)}", PRIVATE)
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
