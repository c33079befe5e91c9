"""The user's aliases, stored in the user's catalog file; its comments and order are preserved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import NotFoundError, ResourceError, UsageError
from ..files.atomic_file import atomic_file
from ..text import escaped
from . import places
from .catalog import NAME, catalog
from .names import parse, suggestion

TABLE = "aliases"


def user_aliases() -> dict[str, str]:
    """The user's aliases: MODEL by alias."""
    return {str(alias): str(target) for alias, target in _document().get(TABLE, {}).items()}


def set_alias(alias: str, model: str) -> None:
    """Make `alias` a name of `model`. Raises UsageError for an invalid alias, NotFoundError for an unknown MODEL."""
    alias = alias.lower()
    if not NAME.fullmatch(alias):
        raise UsageError(
            f"invalid alias {escaped(alias)}", "use lower-case letters, digits, dots, dashes and underscores"
        )
    if alias in catalog().entries:
        raise UsageError(f"{alias} is already a model in the catalog", "choose another name")
    meant = parse(model)
    if isinstance(meant, Path):
        if not meant.is_file():
            raise NotFoundError(f"unknown model {escaped(model)}", suggestion(model))
        model = str(meant.resolve())
        if not _is_utf8(model):
            raise UsageError(f"{escaped(model)} is not UTF-8: an alias cannot be stored for it", "rename the file")
    if alias == model.partition(":")[0]:
        raise UsageError(f"{alias} would be an alias of itself", "name another model")
    document = _document()
    document.setdefault(TABLE, {})[alias] = model
    _write(document)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def remove_alias(alias: str) -> None:
    """Delete an alias. Raises NotFoundError where the user has not set it."""
    document = _document()
    if alias not in document.get(TABLE, {}):
        known = ", ".join(user_aliases())
        raise NotFoundError(f"no alias {escaped(alias)}", f"your aliases: {known}" if known else "you have no aliases")
    del document[TABLE][alias]
    _write(document)


def _document() -> Any:
    """The user's catalog as a TOML document, validated; empty where the file does not exist."""
    import tomlkit

    catalog()
    try:
        return tomlkit.parse(places.user_catalog().read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return tomlkit.document()


def _write(document: Any) -> None:
    import tomlkit

    path = places.user_catalog()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{escaped(str(path.parent))}: cannot be created: {error.strerror}") from None
    with atomic_file(path, force=True) as out:
        out.write(tomlkit.dumps(document).encode())
