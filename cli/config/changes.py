"""Changes of the config file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import NotFoundError, UsageError
from ...text import shown
from .config_file import PRESETS, ConfigFile, Keys
from .declared import setting_named
from .setting import WrongValueError
from .sources import Sources

PRESET_NAME = re.compile(r"[A-Za-z0-9_-]+")
FIRST = """# Settings of llmlocal. `llmlocal config list --all` lists all there are.
#
# temp = 0.7
#
# [presets.coder]
# system = "You write Python."
"""


def divided(key: str) -> Keys:
    """A setting's keys in the file, by their names. Raises UsageError for names of presets that cannot be."""
    keys = tuple(key.split("."))
    if keys[0] != PRESETS:
        return (key,)
    if len(keys) not in (2, 3) or not PRESET_NAME.fullmatch(keys[1]):
        raise UsageError(f"{shown(key)} is not a key", "settings of presets are called presets.NAME.SETTING")
    return keys


def set_value(key: str, texts: Sequence[str]) -> None:
    """Set a key to what is typed. Raises UsageError, and as `ConfigFile.change`."""
    keys = divided(key)
    if keys[0] == PRESETS and len(keys) < 3:
        raise UsageError(f"{shown(key)} is a preset, not a setting", f"llmlocal config set {key}.temp 0.7")
    setting = setting_named(keys[-1])
    try:
        value = setting.of_texts(texts)
    except WrongValueError as why:
        raise setting.wrong(" ".join(texts), why, "") from None
    ConfigFile().change(keys, value)


def unset_value(key: str) -> None:
    """Remove a key. Raises NotFoundError where the file does not have it, and as `ConfigFile.change`."""
    file = ConfigFile()
    try:
        file.change(divided(key))
    except KeyError:
        raise NotFoundError(f"{shown(key)} is not set in {file.where}", "llmlocal config list") from None


def edit_file() -> None:
    """Let the user edit the file, and check it. Raises UsageError where the editor fails, or the file has mistakes."""
    from ..ui.keyboard import edited

    file = ConfigFile()
    try:
        before = file.text()
    except NotFoundError:
        before = ""
    text = edited(before.removesuffix("\n") or FIRST, "config.toml")
    if text is None:
        raise UsageError("the editor could not be started or failed", "set EDITOR to the editor to use")
    text = text and text + "\n"
    if text not in (before, FIRST):
        file.write(text)
    _ = Sources().tables
