"""Variables of the environment that nothing reads, but whose names are nearly those that something does."""

from __future__ import annotations

import os
from collections.abc import Iterator

PREFIX = "LLMLOCAL_"
OWN = ("CACHE", "CONFIG", "DEBUG", "ISA", "NO_HISTORY")  # those that are no settings
SIMILAR = 0.75  # tests and other programs may have variables of their own


def misspelt() -> Iterator[tuple[str, str]]:
    """Each such variable, and the one that was probably meant."""
    # Of the settings, which are many modules, nothing is imported where all is in order.
    odd = [name for name in os.environ if name.startswith(PREFIX) and name[len(PREFIX) :] not in OWN]
    if not odd:
        return
    from difflib import get_close_matches

    from .declared import settings

    known = [*(PREFIX + name for name in OWN), *(setting.variable for setting in settings().values())]
    ends = [name[len(PREFIX) :] for name in known]
    for name in odd:
        near = get_close_matches(name[len(PREFIX) :].upper(), ends, 1, SIMILAR)
        if name not in known and near:
            yield name, PREFIX + near[0]
