"""The code blocks of a Markdown text."""

from __future__ import annotations

import re

from ..errors import IncompleteError
from ..text import escaped

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`\n]*")


def first_block(text: str, language: str = "") -> str:
    """The content of the first fenced code block, in a language if one is named.

    Raises IncompleteError where there is none, or where it has no end.
    """
    lines = iter(text.splitlines(keepends=True))
    for line in lines:
        opens = FENCE.fullmatch(line.rstrip("\r\n"))
        if opens is None:
            continue
        body = []
        for inside in lines:
            closes = inside.strip()
            if closes.startswith(opens[1]) and not closes.strip(opens[1][0]):
                break
            body.append(inside)
        else:
            raise IncompleteError("the code block of the answer has no end", "-n allows more tokens")
        if opens[2].lower() == language.lower() or not language:
            return "".join(body)
    what = f"no code block in {escaped(language)}" if language else "no code block"
    raise IncompleteError(f"the answer has {what}", "leave out --extract to see all of it")
