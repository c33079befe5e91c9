"""Keys and values of the config file."""

from __future__ import annotations

from typing import Annotated

import typer

from ..option_groups import parameter

SettingKey = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="A setting, such as temp, or presets.NAME.temp in a preset.", show_default=False
    ),
]
RemovedKey = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="A setting, presets.NAME.SETTING in a preset, or presets.NAME.", show_default=False
    ),
]
SettingValue = Annotated[
    list[str],
    typer.Argument(metavar="VALUE...", help="The value; for lists, such as stop, several.", show_default=False),
]
Origin = Annotated[bool, parameter("--origin", "Add where each value stands.")]
AllSettings = Annotated[bool, parameter("--all", "List all settings that there are, with their meaning.")]
