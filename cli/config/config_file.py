"""The user's config file: TOML with settings at its top, and presets, which are named tables of settings."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...errors import NotFoundError, ResourceError, UsageError
from ...files.atomic_file import atomic_file
from ...files.small_file import read_small_text
from ...quant.user_folders import expanded, user_folder
from ...text import escaped

NAME, VARIABLE = "config.toml", "LLMLOCAL_CONFIG"
PRESETS = "presets"
MOST = 1 << 20  # bytes that are read
EDIT = "llmlocal config edit opens the file"
Keys = tuple[str, ...]


class ConfigFile:
    """The file of LLMLOCAL_CONFIG, or config.toml in the user's config folder, which need not exist."""

    def __init__(self) -> None:
        named = os.environ.get(VARIABLE)
        self.path = expanded(named) if named else user_folder("config") / NAME
        self._required = bool(named)

    @property
    def where(self) -> str:
        """Its name for messages."""
        return escaped(str(self.path))

    def text(self) -> str:
        """What it holds; empty where it does not exist.

        Raises NotFoundError for a file of LLMLOCAL_CONFIG that does not exist, BadFileError for one that is not text.
        """
        try:
            return read_small_text(self.path, MOST)
        except NotFoundError as error:
            if self._required:
                raise NotFoundError(str(error), f"llmlocal config set creates it; or unset {VARIABLE}") from None
            return ""

    def tables(self, text: str) -> dict[str, Any]:
        """The file's text as tables. Raises UsageError, which names the line, where it is not TOML."""
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            what, _, at = str(error).partition(" (at ")
            line = re.match(r"line (\d+)", at)
            number = int(line[1]) if line else text.count("\n") + 1
            raise UsageError(f"{self.where}:{number}: {escaped(what)}", EDIT) from None
        except ValueError:  # Python's limit of what a number may be
            raise UsageError(f"{self.where}: has a number of too many digits", EDIT) from None
        except RecursionError:
            raise UsageError(f"{self.where}: is too deeply nested", EDIT) from None

    def place(self, text: str, keys: Keys) -> str:
        """File and line of a key, for messages."""
        return f"{self.where}:{lines_of(text).get(keys, 1)}"

    def change(self, keys: Keys, value: Any = None) -> None:
        """Set a key, or remove it for None; comments and order are preserved. Raises what `text` and `tables` raise.

        Raises ResourceError where the file cannot be written, KeyError for a key to remove that is not there.
        """
        import tomlkit

        try:
            text = self.text()
        except NotFoundError:
            text = ""
        wanted = self.tables(text)
        self._change(wanted, keys, value)
        document: Any = tomlkit.parse(text)
        self._change(document, keys, value)
        changed: str = tomlkit.dumps(document)
        if tomllib.loads(changed) != wanted:  # some layouts are beyond the library
            raise UsageError(f"{self.where}: {'.'.join(keys)} cannot be changed in this file", EDIT)
        self.write(changed)

    def _change(self, table: Any, keys: Sequence[str], value: Any) -> None:
        first, *rest = keys
        if not rest:
            if value is None:
                del table[first]
            else:
                table[first] = value
            return
        if value is not None and first not in table:
            table[first] = {}
        if not isinstance(table[first], Mapping):
            raise UsageError(f"{self.where}: {first} is not a table", EDIT)
        self._change(table[first], rest, value)
        if value is None and not table[first]:
            del table[first]

    def write(self, text: str) -> None:
        """Replace the file. Raises ResourceError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(f"{escaped(str(self.path.parent))}: cannot be created: {error.strerror}") from None
        with atomic_file(self.path, force=True) as out:
            out.write(text.encode("utf-8", "surrogateescape"))


def lines_of(text: str) -> dict[Keys, int]:
    """The line in which each key of a TOML text ends."""
    found: dict[Keys, int] = {}
    header = part = ""
    for n, line in enumerate(text.splitlines(keepends=True), 1):
        part += line
        try:
            table = tomllib.loads(header + part)
        except tomllib.TOMLDecodeError:
            continue  # within a value of many lines
        for keys in _keys(table):
            found.setdefault(keys, n)
        if part.lstrip().startswith("["):
            header = part
        part = ""
    return found


def _keys(table: Mapping[str, Any], above: Keys = ()) -> Iterator[Keys]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from _keys(value, (*above, key))
