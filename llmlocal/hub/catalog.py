"""The catalog of models: short names, repositories and the makers' sampling settings, from two TOML files.

The user's entries and aliases override the built-in ones. File sizes and hashes come from the hub, never from here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..errors import UsageError
from ..text import escaped
from . import places

ModelKind = Literal["chat", "base", "embedding"]
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # no colon: it separates the quantization
REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
QUANT_PLACE = "{quant}"
_FOLDER = re.compile(r"models--([^/\\]+?)--([^/\\]+)")
_WORDS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings that the model's maker recommends, named as the options of `run`; None where not stated."""

    temp: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model in the catalog.

    `file` is the pattern of its file names in `repo`, with `{quant}` for the quantization; None accepts any file.
    `context` is in tokens, `parameters` in billions. `checked` lists the fields that were verified against public
    documentation. `own`: from the user's catalog.
    """

    name: str
    repo: str
    file: str | None = None
    revision: str | None = None
    parameters: float | None = None
    context: int | None = None
    license: str | None = None
    kind: ModelKind = "chat"
    gated: bool = False
    aliases: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    checked: tuple[str, ...] = ()
    own: bool = False


class Catalog(NamedTuple):
    """Entries by name, and aliases: those of the entries, and the user's, which may stand for any MODEL."""

    entries: Mapping[str, CatalogEntry]
    aliases: Mapping[str, str]

    def names(self) -> list[str]:
        """All short names and aliases, sorted."""
        return sorted({*self.entries, *self.aliases})

    def find(self, name: str) -> CatalogEntry | None:
        """The entry of a name or alias (in any case), without a quantization."""
        name = name.lower()
        for _ in range(4):  # aliases of aliases; a cycle ends here
            if name in self.entries or name not in self.aliases:
                break
            name = self.aliases[name].lower().partition(":")[0]
        return self.entries.get(name)


def entry_for(model: str | Path) -> CatalogEntry | None:
    """The catalog's entry for a name, `name:QUANT`, `hf:org/repo` or a local file; None where it has none.

    A local file is matched by its repository where it lies in the hub's cache, otherwise by its file name.
    """
    found = catalog()
    text = str(model)
    if text.startswith("hf:"):
        return _of_repo(found, text[3:].split("@")[0].split(":")[0], text)
    if isinstance(model, str) and (entry := found.find(text.partition(":")[0])):
        return entry
    folders = _FOLDER.findall(text)
    if folders and (entry := _of_repo(found, "/".join(folders[-1]), Path(text).name)):
        return entry
    stem = _plain(Path(text).name.removesuffix(".gguf"))
    known = [entry for entry in found.entries.values() if any(_starts(stem, name) for name in _spellings(entry))]
    return max(known, key=lambda entry: len(entry.name), default=None)


def recommended_sampling(model: Path) -> dict[str, Any]:
    """What the catalog recommends for a model's file, by the names of `SamplingParams`; empty where it says nothing."""
    entry = entry_for(model)
    found = {key: value for key, value in asdict(entry.sampling).items() if value is not None} if entry else {}
    return {"temperature" if key == "temp" else key: value for key, value in found.items()}


def catalog() -> Catalog:
    """The built-in entries, overridden by the user's; read again when the user's file changes.

    Raises UsageError, naming file and line, where the user's file is invalid.
    """
    user = places.user_catalog()
    try:
        stamp = user.stat().st_mtime_ns
    except OSError:
        stamp = None
    return _catalog(user, stamp)


@cache
def _catalog(user: Path, stamp: int | None) -> Catalog:
    entries, aliases = _read(places.catalog(), own=False)
    if stamp is not None:
        more, other = _read(user, own=True)
        entries |= more
        aliases |= other
    return Catalog(entries, aliases)


def _read(path: Path, *, own: bool) -> tuple[dict[str, CatalogEntry], dict[str, str]]:
    where = escaped(str(path))
    try:
        document = tomllib.loads(path.read_text("utf-8"))
        models, aliases = document.get("models", {}), document.get("aliases", {})
        if not all(isinstance(table, dict) for table in (models, aliases, *models.values())):
            raise ValueError("models, each model, and aliases must be tables")
        entries = {name: entry_of(name, table, own=own) for name, table in models.items()}
        for alias, target in aliases.items():
            if not (NAME.fullmatch(alias) and isinstance(target, str)):
                raise ValueError(f"alias {alias!r} must be a short name of a MODEL")
    except (OSError, UnicodeDecodeError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{where}: {escaped(str(error))[:200]}", "correct or delete the file") from None
    except RecursionError:
        raise UsageError(f"{where}: is too deeply nested", "correct or delete the file") from None
    return entries, {alias: entry.name for entry in entries.values() for alias in entry.aliases} | aliases


def entry_of(name: str, table: Mapping[str, Any], *, own: bool = False) -> CatalogEntry:
    """An entry from a TOML table. Raises ValueError for an unknown field or one of the wrong type."""
    if not NAME.fullmatch(name):
        raise ValueError(f"invalid name {name!r}: use lower-case letters, digits, dots, dashes and underscores")
    values = dict(table)
    if values.pop("unchecked", False) and "checked" in values:
        raise ValueError(f"{name}: both checked and unchecked")
    if "sampling" in values:
        values["sampling"] = _checked(f"{name}.sampling", Sampling, values["sampling"])
    for key in ("aliases", "checked"):
        if key in values:
            values[key] = tuple(values[key])
    entry: CatalogEntry = _checked(name, CatalogEntry, {**values, "name": name, "own": own})
    if not REPO.fullmatch(entry.repo):
        raise ValueError(f"{name}: invalid repository {entry.repo!r}, expected org/name")
    if entry.file is not None and QUANT_PLACE not in entry.file:
        raise ValueError(f"{name}: file must contain {QUANT_PLACE}")
    if bad := [alias for alias in entry.aliases if not NAME.fullmatch(alias)]:
        raise ValueError(f"{name}: invalid alias {bad[0]!r}")
    return entry


_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "float": (int, float),
    "int": int,
    "bool": bool,
    "tuple": tuple,
    "ModelKind": str,
    "Sampling": Sampling,
}
_CHOICES = {"kind": ("chat", "base", "embedding")}


def _checked(where: str, kind: type[Any], values: Any) -> Any:
    """An instance of the dataclass `kind`, each value checked against the type of its field."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a table")
    types = _field_types(fields(kind))
    for key, value in values.items():
        if key not in types:
            raise ValueError(f"{where}: unknown field {key!r}")
        wanted = _TYPES[types[key]]
        right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        if isinstance(value, tuple):
            right = right and all(isinstance(item, str) and item for item in value)
        if not right or value not in _CHOICES.get(key, (value,)):
            raise ValueError(f"{where}: {key} cannot be {value!r}")
    try:
        return kind(**values)
    except TypeError:
        raise ValueError(f"{where}: repo is missing") from None


@cache
def _field_types(of: tuple[Field[Any], ...]) -> dict[str, str]:
    """The name of each field's type, without what is in brackets and `| None`."""
    return {field.name: re.split(r"[\[ ]", str(field.type))[0] for field in of}


def _of_repo(found: Catalog, repo: str, hint: str) -> CatalogEntry | None:
    """The entry of a repository; where several share it, the one whose file pattern matches `hint`."""
    entries = [entry for entry in found.entries.values() if entry.repo.lower() == repo.lower()]
    named = [entry for entry in entries if entry.file and _plain(entry.file.split(QUANT_PLACE)[0]) in _plain(hint)]
    return next(iter(named or entries), None)


def _spellings(entry: CatalogEntry) -> list[str]:
    """Possible file names of the entry, without the quantization."""
    repo = re.sub("-gguf$", "", entry.repo.split("/")[1].lower())
    return [_plain(name) for name in (entry.name, repo, *(entry.file or "").split(QUANT_PLACE)[:1]) if name]


def _starts(stem: str, name: str) -> bool:
    return stem == name or stem.startswith(f"{name}-")


def _plain(text: str) -> str:
    return _WORDS.sub("-", text.lower()).strip("-")
