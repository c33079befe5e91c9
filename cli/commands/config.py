"""`llmlocal config`: the user's own defaults for options."""

from __future__ import annotations

from ..command_group import group
from ..config.options import AllSettings, Origin, RemovedKey, SettingKey, SettingValue
from ..options.report import Json

config = group(
    "Show and change your settings: own defaults for options, and presets. A preset is a named table of settings, "
    "which --preset NAME uses. What is typed goes before presets, then come variables such as LLMLOCAL_TEMP, then the "
    "config file, then what models.toml recommends for a model, then the built-in defaults.",
    "llmlocal config set threads 4",
)


@config.command("set", context_settings={"ignore_unknown_options": True})
def set_(key: SettingKey, value: SettingValue) -> None:
    """Set a value in the config file. Its comments stay.

    \b
    Examples: llmlocal config set temp 0.7
              llmlocal config set stop "User:" "###"
              llmlocal config set presets.coder.system "You write Python."
    """
    from ..config.changes import set_value

    set_value(key, value)


@config.command("unset")
def unset(key: RemovedKey) -> None:
    """Remove a value, or a preset, from the config file.

    \b
    Examples: llmlocal config unset temp
              llmlocal config unset presets.coder
    """
    from ..config.changes import unset_value

    unset_value(key)


@config.command("get")
def get(key: SettingKey) -> None:
    """Print the value that is set.

    A variable of the environment goes before the config file. Exits with code 3 where nothing is set.

    \b
    Example: llmlocal config get threads
    """
    from ..config.listing import show_value

    show_value(key)


@config.command("list")
def list_(origin: Origin = False, all_settings: AllSettings = False, as_json: Json = False) -> None:
    """List the settings that have a value, as TOML.

    \b
    Examples: llmlocal config list --origin
              llmlocal config list --all
    """
    from ..config.listing import list_settings

    list_settings(origin=origin, everything=all_settings, as_json=as_json)


@config.command("path")
def path() -> None:
    """Print the path of the config file, which need not exist.

    \b
    Example: llmlocal config path
    """
    from ..config.config_file import ConfigFile
    from ..ui import terminal

    terminal.say_path(ConfigFile().path)


@config.command("edit")
def edit() -> None:
    """Open the config file in $VISUAL or $EDITOR (vi otherwise), and check it afterwards.

    \b
    Example: llmlocal config edit
    """
    from ..config.changes import edit_file

    edit_file()
