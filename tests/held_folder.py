"""A Hugging Face folder whose files are held in memory: many of them are read in a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmlocal.hf.folder import Folder
from llmlocal.hf.json_file import parse_object


class HeldFolder(Folder):
    """`files` are the bytes of JSON files by name; `path` holds what else is asked for, such as vocabularies."""

    def __init__(self, files: Mapping[str, bytes], path: Path) -> None:
        self.path, self._files = path, files
        self._read: dict[str, dict[str, Any]] = {}

    @classmethod
    def of(cls, path: Path) -> HeldFolder:
        """The folder at `path`, its JSON files in memory."""
        return cls({file.name: file.read_bytes() for file in path.glob("*.json")}, path)

    def having(self, name: str, content: bytes) -> HeldFolder:
        """This folder with another file."""
        return HeldFolder({**self._files, name: content}, self.path)

    def has(self, name: str) -> bool:
        return name in self._files or (not name.endswith(".json") and super().has(name))

    def json(self, name: str) -> dict[str, Any]:
        if name not in self._read:
            content = self._files.get(name)
            self._read[name] = {} if content is None else parse_object(content, name)
        return self._read[name]

    def content(self, name: str) -> bytes:
        """The bytes of a file."""
        return self._files[name]
