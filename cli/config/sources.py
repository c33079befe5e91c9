"""Where values of settings come from: a preset, the environment, the config file, in this order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from ...errors import UsageError
from ...text import shown
from .config_file import EDIT, PRESETS, ConfigFile, Keys
from .declared import of_group, setting_named, settings
from .setting import Setting, WrongValueError


class Found(NamedTuple):
    """A value, as TOML has it, and where it stands."""

    value: Any
    origin: str


class Sources:
    """All places that give settings, checked when the first value is asked for."""

    def __init__(self) -> None:
        self.file = ConfigFile()

    @cached_property
    def text(self) -> str:
        """The config file's text. Raises as `ConfigFile.text`."""
        return self.file.text()

    @cached_property
    def tables(self) -> dict[str, Any]:
        """The config file. Raises UsageError, which names file, line and key, for what cannot stand in one."""
        tables = self.file.tables(self.text)
        presets = tables.get(PRESETS, {})
        self._check({key: value for key, value in tables.items() if key != PRESETS}, ())
        if not isinstance(presets, Mapping):
            raise UsageError(f"{self.file.place(self.text, (PRESETS,))}: {PRESETS} must be a table of tables", EDIT)
        for name, preset in presets.items():
            keys = (PRESETS, name)
            if not isinstance(preset, Mapping):
                raise UsageError(f"{self.file.place(self.text, keys)}: {'.'.join(keys)} must be a table", EDIT)
            self._check(preset, keys)
        return tables

    def _check(self, table: Mapping[str, Any], above: Keys) -> None:
        for key, value in table.items():
            keys = (*above, key)
            if key not in settings():
                setting_named(key, f"{self._place(keys)}: ")
            self._own(settings()[key], value, keys)

    def _place(self, keys: Keys) -> str:
        return self.file.place(self.text, keys)

    def preset(self, name: str) -> dict[str, Any]:
        """The settings of a preset. Raises UsageError, which offers the nearest, where there is none."""
        presets = self.tables.get(PRESETS, {})
        if name in presets:
            return dict(presets[name])
        from difflib import get_close_matches

        near = get_close_matches(name, presets, 1, 0.6)
        known = f"presets: {', '.join(presets)}" if presets else f"{self.file.where} has none"
        raise UsageError(f"no preset {shown(name)}", f"did you mean {near[0]}?" if near else known)

    def find(self, setting: Setting, preset: str | None = None) -> Found | None:
        """The value of a setting, None where nothing gives one. Raises as `tables` and `preset`, and UsageError.

        `setting` is a command's own; the one of this name that is declared first may be another option.
        """
        name = setting.name
        if preset is not None and name in (given := self.preset(preset)):
            return Found(self._own(setting, given[name], (PRESETS, preset, name)), f"preset {preset}")
        text = os.environ.get(setting.variable)
        if text:
            try:
                return Found(settings()[name].checked(setting.of_variable(text)), setting.variable)
            except WrongValueError as why:
                raise setting.wrong(text, why, f"{setting.variable}: ") from None
        return Found(self._own(setting, self.tables[name], (name,)), "") if name in self.tables else None

    def _own(self, setting: Setting, value: Any, keys: Keys) -> Any:
        try:
            return setting.checked(value)
        except WrongValueError as why:
            raise setting.wrong(value, why, f"{self._place(keys)}: ", ".".join(keys)) from None

    def origin(self, found: Found, keys: Keys) -> str:
        """Where a value stands, with the line in the config file."""
        return found.origin or self._place(keys)

    def all(self) -> Iterator[tuple[Setting, Found]]:
        """All settings that have a value."""
        for setting in settings().values():
            if (found := self.find(setting)) is not None:
                yield setting, found

    def group(self, group: type[Any], preset: str | None = None, **given: Any) -> Any:
        """A group of options as the settings give it; `given` are those that are known already."""
        for setting in of_group(group):
            if setting.field not in given and (found := self.find(setting, preset)) is not None:
                given[setting.field] = setting.converted(found.value)
        return group(**given)
