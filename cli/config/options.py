"""Keys and values of the config file."""

from __future__ import annotations

from typing import Annotated

from ..option_groups import parameter, positional

SettingKey = Annotated[str, positional("KEY", "A setting, such as temp, or presets.NAME.temp in a preset.")]
RemovedKey = Annotated[str, positional("KEY", "A setting, presets.NAME.SETTING in a preset, or presets.NAME.")]
SettingValue = Annotated[list[str], positional("VALUE...", "The value; for lists, such as stop, several.")]
Origin = Annotated[bool, parameter("--origin", "Add where each value stands.")]
AllSettings = Annotated[bool, parameter("--all", "List all settings that there are, with their meaning.")]
