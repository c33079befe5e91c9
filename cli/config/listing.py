"""What is set, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ...errors import NotFoundError, UsageError
from ...text import shown
from ..ui import terminal
from .changes import divided
from .config_file import PRESETS
from .declared import setting_named, settings
from .sources import Found, Sources

NOTHING = "nothing is set: llmlocal config list --all lists what can be, llmlocal config set KEY VALUE sets it"


def show_value(key: str) -> None:
    """Print a value, of a list each in its line. Raises NotFoundError where none is set, and as `Sources.find`."""
    keys, sources = divided(key), Sources()
    if len(keys) == 2:
        raise UsageError(f"{shown(key)} is a preset, not a setting", "llmlocal config list shows presets")
    setting = setting_named(keys[-1])
    if len(keys) == 3:
        value = sources.preset(keys[1]).get(setting.name)
    else:
        value = found.value if (found := sources.find(setting)) else None
    if value is None:
        raise NotFoundError(f"{key} is not set", setting.about)
    terminal.lines(str(item) if isinstance(item, str) else toml(item) for item in _items(value))


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def list_settings(*, origin: bool, everything: bool, as_json: bool) -> None:
    """List what is set, or all settings. Raises as `Sources.all`."""
    sources = Sources()
    if everything:
        return _list_all(sources, as_json)
    presets = sources.tables.get(PRESETS, {})
    found = {setting.name: found for setting, found in sources.all()}
    if as_json:
        values = {name: {"value": f.value, "origin": sources.origin(f, (name,))} for name, f in found.items()}
        return _say_json(path=str(sources.file.path), settings=values, presets=presets)
    terminal.lines(_lines(sources, found, origin))
    if not (found or presets):
        terminal.tell_person(NOTHING)


def _lines(sources: Sources, found: dict[str, Found], origin: bool) -> Iterator[str]:
    """The lines of a TOML file with the values that hold."""
    for name, f in found.items():
        yield f"{name} = {toml(f.value)}" + (f"  # {sources.origin(f, (name,))}" if origin else "")
    for preset, values in sources.tables.get(PRESETS, {}).items():
        if found:
            yield ""
        yield f"[{PRESETS}.{toml_key(preset)}]"
        for name, value in values.items():
            at = f"  # {sources.origin(Found(value, ''), (PRESETS, preset, name))}" if origin else ""
            yield f"{name} = {toml(value)}{at}"


def _list_all(sources: Sources, as_json: bool) -> None:
    if as_json:
        known = {
            s.name: {
                "kind": s.words,
                "list": s.many,
                "default": s.default,
                "variable": s.variable,
                "help": s.parsed.help,
            }
            for s in settings().values()
        }
        return _say_json(path=str(sources.file.path), settings=known)
    terminal.rows((s.name, s.about) for s in settings().values())


def _say_json(**fields: Any) -> None:
    from ..views.model import to_json  # with which the reader of GGUF files comes

    terminal.say(to_json(**fields))


def toml(value: Any) -> str:
    """A value as TOML has it; texts as JSON has them, which TOML reads alike."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, float):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def toml_key(name: str) -> str:
    """A key as TOML has it: names of other than letters, digits and dashes are in quotes."""
    return name if name.isascii() and name.replace("-", "").replace("_", "").isalnum() else toml(name)
