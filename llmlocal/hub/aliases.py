"""The user's aliases: kept in the user's own catalog, whose comments and order stay. Knows TOML, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import NotFoundError, ResourceError, UsageError
from ..files.atomic_file import atomic_file
from ..text import escaped
from . import places
from .catalog import NAME, catalog
from .names import nearest, parse

TABLE = "aliases"


def user_aliases() -> dict[str, str]:
    """MODEL by alias, as the user set them."""
    return {str(alias): str(target) for alias, target in _document().get(TABLE, {}).items()}


def set_alias(alias: str, model: str) -> None:
    """Let `alias` mean `model`. Raises UsageError for what is no name, NotFoundError for what is no MODEL."""
    alias = alias.lower()
    if not NAME.fullmatch(alias):
        raise UsageError(f"{escaped(alias)} is no name", "small letters, digits, dots and dashes")
    if alias in catalog().entries:
        raise UsageError(f"{alias} is a model of the catalog", "choose another name")
    meant = parse(model)
    if isinstance(meant, Path):
        if not meant.is_file():
            raise NotFoundError(
                f"no model is called {escaped(model)}", f"the nearest names are {', '.join(nearest(model))}"
            )
        model = str(meant.resolve())
    if alias == model.partition(":")[0]:
        raise UsageError(f"{alias} would mean itself")
    document = _document()
    document.setdefault(TABLE, {})[alias] = model
    _write(document)


def remove_alias(alias: str) -> None:
    """Raises NotFoundError for what the user did not set."""
    document = _document()
    if alias not in document.get(TABLE, {}):
        known = ", ".join(user_aliases())
        raise NotFoundError(f"no alias {escaped(alias)}", f"there is {known}" if known else "none is set")
    del document[TABLE][alias]
    _write(document)


def _document() -> Any:
    """The user's catalog, which is checked first; empty where there is none."""
    import tomlkit

    catalog()
    try:
        return tomlkit.parse(places.user_catalog().read_text("utf-8"))
    except FileNotFoundError:
        return tomlkit.document()


def _write(document: Any) -> None:
    import tomlkit

    path = places.user_catalog()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{escaped(str(path.parent))}: cannot be made: {error.strerror}") from None
    with atomic_file(path, force=True) as out:
        out.write(tomlkit.dumps(document).encode())
