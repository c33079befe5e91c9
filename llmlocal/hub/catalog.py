"""The catalog of models: short names, and what their makers recommend. Reads two TOML files, nothing else.

The user's entries and aliases go before ours. Sizes and hashes are not here: those only the hub knows.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..text import escaped
from . import places

Kind = Literal["chat", "base", "embedding"]
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # no colon: that starts the quantization
REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
QUANT_PLACE = "{quant}"
_FOLDER = re.compile(r"models--([^/\\]+?)--([^/\\]+)")
_WORDS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the maker says to sample; None where nothing is said. Spelled as the options of `run`."""

    temp: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model as the catalog has it.

    `file` is the name of its files in `repo` with `{quant}` in it, None where any file of the quantization will do.
    `context` in tokens, `parameters` in billions. `checked` names the fields that were compared with
    public documentation. `own`: the user's.
    """

    name: str
    repo: str
    file: str | None = None
    revision: str | None = None
    parameters: float | None = None
    context: int | None = None
    license: str | None = None
    kind: Kind = "chat"
    gated: bool = False
    aliases: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    checked: tuple[str, ...] = ()
    own: bool = False


@dataclass(frozen=True, slots=True)
class Catalog:
    """Entries by name, and aliases: the entries' own and the user's, which may be of any MODEL."""

    entries: Mapping[str, CatalogEntry]
    aliases: Mapping[str, str]

    def names(self) -> list[str]:
        """Every short name there is, sorted."""
        return sorted({*self.entries, *self.aliases})

    def find(self, name: str) -> CatalogEntry | None:
        """The entry of a name or alias (in any case), without a quantization."""
        name = name.lower()
        for _ in range(4):  # an alias of an alias; a ring ends here
            if name in self.entries or name not in self.aliases:
                break
            name = self.aliases[name].lower().partition(":")[0]
        return self.entries.get(name)


def entry_for(model: str | Path) -> CatalogEntry | None:
    """The catalog's entry of a name, `name:QUANT`, `hf:org/repo`, or of a local file; None where it has none.

    A file is known by the repository whose folder of the hub's cache it lies in, else by its own name.
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
    """Our entries with the user's over them, read once in a process for each state of the user's file.

    Raises UsageError, which names the line, where the user's file is wrong.
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
        entries = {name: entry_of(name, table, own=own) for name, table in models.items()}
        for alias, target in aliases.items():
            if not (NAME.fullmatch(alias) and isinstance(target, str)):
                raise ValueError(f"alias {alias!r} must be a short name of a MODEL")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError, AttributeError) as error:
        raise UsageError(f"{where}: {escaped(str(error))}", "mend or remove the file") from None
    return entries, {alias: entry.name for entry in entries.values() for alias in entry.aliases} | aliases


def entry_of(name: str, table: Mapping[str, Any], *, own: bool = False) -> CatalogEntry:
    """An entry out of a TOML table. Raises ValueError for a field that is unknown or of the wrong type."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name: small letters, digits, dots, dashes")
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
        raise ValueError(f"{name}: {entry.repo!r} is no repository (org/name)")
    if entry.file is not None and QUANT_PLACE not in entry.file:
        raise ValueError(f"{name}: file must have {QUANT_PLACE} in it")
    if bad := [alias for alias in entry.aliases if not NAME.fullmatch(alias)]:
        raise ValueError(f"{name}: {bad[0]!r} is no alias")
    return entry


_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "float": (int, float),
    "int": int,
    "bool": bool,
    "tuple": tuple,
    "Kind": str,
    "Sampling": Sampling,
}
_CHOICES = {"kind": ("chat", "base", "embedding")}


def _checked(where: str, kind: type[Any], values: Any) -> Any:
    """An object of the dataclass `kind` whose values have the types that it names."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a table")
    types = {field.name: re.split(r"[\[ ]", str(field.type))[0] for field in fields(kind)}
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


def _of_repo(found: Catalog, repo: str, hint: str) -> CatalogEntry | None:
    """The entry of a repository; of several the one whose files are named as `hint`."""
    entries = [entry for entry in found.entries.values() if entry.repo.lower() == repo.lower()]
    named = [entry for entry in entries if entry.file and _plain(entry.file.split(QUANT_PLACE)[0]) in _plain(hint)]
    return next(iter(named or entries), None)


def _spellings(entry: CatalogEntry) -> list[str]:
    """How a file of the entry may be called, without the quantization."""
    repo = re.sub("-gguf$", "", entry.repo.split("/")[1].lower())
    return [_plain(name) for name in (entry.name, repo, *(entry.file or "").split(QUANT_PLACE)[:1]) if name]


def _starts(stem: str, name: str) -> bool:
    return stem == name or stem.startswith(f"{name}-")


def _plain(text: str) -> str:
    return _WORDS.sub("-", text.lower()).strip("-")
