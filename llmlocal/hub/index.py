"""The models in the store, by the names users type. An index file caches facts from their headers.

The store is scanned every time, since other tools add and remove models too.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import LlmlocalError
from ..files.atomic_file import atomic_file
from . import places
from .catalog import QUANT_PLACE, Catalog, CatalogEntry, catalog
from .names import PREFIX, fits
from .remote_file import RemoteFile
from .store import StoredFile, repos
from .variants import quant_of, variants

FILE, VERSION = "index.json", 1
FACTS: dict[str, type] = {"quant": str, "architecture": str, "context": int}


class StoredModel(NamedTuple):
    """A complete model in the store. `path` is its first part, `size` the bytes of all parts.

    `name` is what to type as MODEL. `context` is in tokens, `used` in seconds since 1970. `old`: no branch or tag
    points to its commit any more. `shared` lists other tools that find models in this place.
    """

    name: str
    repo: str
    commit: str
    path: Path
    size: int
    quant: str | None
    architecture: str | None
    context: int | None
    used: float
    old: bool
    shared: tuple[str, ...]
    files: tuple[StoredFile, ...]


def installed(*, facts: bool = True) -> list[StoredModel]:
    """All models in the store, sorted by name. Without `facts` no file is opened: quick, for completion."""
    known, names = _Index() if facts else None, catalog()
    found = []
    for repo in repos():
        held = repo.stored_files()
        for commit in dict.fromkeys(file.commit for file in held):
            there = {file.name: file for file in held if file.commit == commit}
            for variant in variants(RemoteFile(file.name, file.size, "") for file in there.values()):
                files = tuple(there[file.name] for file in variant.files)
                found.append(_model(names, files, known.facts(files[0]) if known else {}))
    if known:
        known.save()
    return sorted(found, key=lambda model: (model.old, model.name))


def names_to_complete() -> list[str]:
    """Completions of MODEL: the names in the catalog, and all models in the store."""
    return sorted({*catalog().names(), *(model.name for model in installed(facts=False) if not model.old)})


def models_near(path: Path) -> list[Path]:
    """First parts of the complete models in the store, and in the folder of `path`, the smallest first."""
    found = {model.path: model.size for model in installed(facts=False)}
    with suppress(OSError), os.scandir(path.absolute().parent) as entries:
        there = [RemoteFile(e.name, e.stat().st_size, "") for e in entries if e.is_file()]
        found |= {path.with_name(variant.name): variant.size for variant in variants(there)}
    return sorted(found, key=lambda near: (found[near], near))


def _model(names: Catalog, files: tuple[StoredFile, ...], facts: dict[str, Any]) -> StoredModel:
    first = files[0]
    quant = quant_of(first.name) or facts.get("quant")
    old = not first.refs
    linked = first.blob != first.path
    tools = ("huggingface_hub", "llama.cpp") if linked and not old else ("huggingface_hub",)
    return StoredModel(
        name=f"{_hub_name(first, quant)}@{first.commit[:12]}" if old else _name(names, first, quant),
        repo=first.repo,
        commit=first.commit,
        path=first.path,
        size=sum(file.size for file in files),
        quant=quant,
        architecture=facts.get("architecture"),
        context=facts.get("context"),
        used=max(file.used for file in files),
        old=old,
        shared=tools,
        files=files,
    )


def _name(names: Catalog, file: StoredFile, quant: str | None) -> str:
    """The MODEL that names this file: the catalog's name, or the repository's."""
    for entry in names.entries.values():
        if entry.repo == file.repo and quant_of(file.name) and _is_of(entry, file.name):
            return f"{entry.name}:{quant}"
    return _hub_name(file, quant)


def _hub_name(file: StoredFile, quant: str | None) -> str:
    return f"{PREFIX}{file.repo}:{quant}" if quant_of(file.name) else f"{PREFIX}{file.repo}/{file.name}"


def _is_of(entry: CatalogEntry, name: str) -> bool:
    return entry.file is None or fits(name, entry.file.replace(QUANT_PLACE, "*"))


class _Index:
    """The index file: header facts by blob, valid while size and modification time are unchanged."""

    def __init__(self) -> None:
        self._path, self._changed = places.own_cache() / FILE, False
        self._seen: dict[str, Any] = {}
        self._held: dict[str, Any] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
            document = json.loads(self._path.read_text("utf-8"))
            if document.get("version") == VERSION:
                self._held = dict(document["files"])

    def facts(self, file: StoredFile) -> dict[str, Any]:
        """Quantization, architecture and context from the header; empty for an unreadable file."""
        try:
            stamp, key = [file.size, os.stat(file.path).st_mtime_ns], str(file.blob)
        except OSError:  # deleted in the meantime
            return {}
        entry = self._seen.get(key) or self._held.get(key)
        if not (isinstance(entry, dict) and entry.get("stamp") == stamp and isinstance(entry.get("facts"), dict)):
            entry, self._changed = {"stamp": stamp, "facts": _read(file.path)}, True
        self._seen[key] = entry
        return {key: value for key, value in entry["facts"].items() if isinstance(value, FACTS.get(key, ()))}

    def save(self) -> None:
        """Write the facts of the files that were seen. Write errors are ignored: the index is only a cache."""
        if self._changed or self._seen.keys() != self._held.keys():
            with suppress(LlmlocalError, OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_file(self._path, force=True) as out:
                    out.write(json.dumps({"version": VERSION, "files": self._seen}, indent=0).encode())


def _read(path: Path) -> dict[str, Any]:
    from ..gguf import GGUFFile
    from ..model_info.arch_value import arch_value
    from ..model_info.describe import file_type, text

    with suppress(LlmlocalError), GGUFFile(path) as gguf:
        data = gguf.metadata
        return {
            "quant": file_type(data),
            "architecture": text(data, "general.architecture"),
            "context": arch_value(data, "context_length"),
        }
    return {}


def record(model: StoredModel) -> dict[str, Any]:
    """A model as a JSON object."""
    from datetime import UTC, datetime

    fields = {key: value for key, value in model._asdict().items() if key != "files"}
    used = datetime.fromtimestamp(model.used, UTC).isoformat(timespec="seconds")
    return {**fields, "path": str(model.path), "used": used, "parts": len(model.files)}
