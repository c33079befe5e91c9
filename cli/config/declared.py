"""Which settings there are: the options that the modules of `cli/options` declare as settings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from ...errors import UsageError
from ...text import shown
from .. import options
from ..option_groups import OptionGroup, hints_of, is_group, is_setting, options_of
from .setting import Setting

ALL = "llmlocal config list --all lists all settings"


@cache
def settings() -> dict[str, Setting]:
    """All settings by name, sorted."""
    found: dict[str, Setting] = {}
    for module in iter_modules(options.__path__):
        for setting in _declared(import_module(f"{options.__name__}.{module.name}")):
            found.setdefault(setting.name, setting)
    return dict(sorted(found.items()))


def of_group(group: type[OptionGroup]) -> Iterator[Setting]:
    """The settings among the options of a group."""
    fields = options_of(group)
    for name, hint in hints_of(group).items():
        if is_setting(hint):
            yield Setting.of(hint, fields[name].default, group, name)


def setting_named(name: str, place: str = "") -> Setting:
    """A setting by its name. Raises UsageError, which offers the nearest."""
    if name in settings():
        return settings()[name]
    from difflib import get_close_matches

    near = get_close_matches(name.replace("_", "-").lower(), settings(), 1, 0.75)
    raise UsageError(f"{place}no setting {shown(name)}", f"did you mean {near[0]}? {ALL}" if near else ALL)


def _declared(module: ModuleType) -> Iterator[Setting]:
    """Of groups first, which know the defaults."""
    for value in vars(module).values():
        if is_group(value):
            yield from of_group(value)
    for value in vars(module).values():
        if is_setting(value):
            yield Setting.of(value)
