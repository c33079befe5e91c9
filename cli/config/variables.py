"""Variables of the environment that nothing reads, but whose names are nearly those that a command reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from .setting import PREFIX, Setting

OWN = ("CACHE", "CONFIG", "DEBUG", "ISA", "NO_HISTORY")  # those that are no settings
SIMILAR = 0.75  # tests and other programs may have variables of their own


def misspelt(own: Iterable[Setting]) -> Iterator[tuple[str, str]]:
    """Each such variable, and the one that was probably meant, for a command with the settings `own`."""
    known = {PREFIX + name for name in OWN} | {setting.variable for setting in own}
    odd = [name for name in os.environ if name.startswith(PREFIX) and name not in known]
    if not odd:
        return
    from difflib import get_close_matches

    ends = {name.removeprefix(PREFIX): name for name in sorted(known)}
    for name in odd:
        near = get_close_matches(name.removeprefix(PREFIX).upper(), ends, 1, SIMILAR)
        if near and not _of_other_command(name):
            yield name, ends[near[0]]


def _of_other_command(name: str) -> bool:
    """Whether a variable gives a setting of any command: many modules, which are not imported without need."""
    from .declared import settings

    return any(setting.variable == name for setting in settings().values())
