"""Text that is safe to print on a terminal: names from files with escapes, sizes with units."""

from __future__ import annotations

import re
from typing import Any

# Lone surrogates: `surrogateescape` makes those of the second kind of bytes that are not UTF-8.
HALF_PAIR, UNDECODED = re.compile("[\ud800-\udc7f\udd00-\udfff]"), re.compile("[\udc80-\udcff]")


def escaped(text: str) -> str:
    """`text` on one line, with non-printable characters as escapes, so that it cannot control a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(name: str) -> str:
    """A name from a file, quoted for a message: escaped, and cut after 64 characters."""
    return f"'{escaped(name[:64])}{'…' if len(name) > 64 else ''}'"


def readable(text: str) -> str:
    """`text` with U+FFFD in the place of bytes that were not UTF-8, which `surrogateescape` made surrogates."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def encodable(value: Any) -> Any:
    """A value of JSON, in whose texts surrogates that stand for no byte are U+FFFD: they could not be encoded."""
    if isinstance(value, str):
        return value if value.isascii() else HALF_PAIR.sub("\ufffd", value)
    if isinstance(value, list):
        return [encodable(item) for item in value]
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    return value


def counted(n: int, noun: str) -> str:
    """`1 turn`, `2 turns`."""
    return f"{n} {noun}{'s' * (n != 1)}"


def format_bytes(nbytes: int) -> str:
    """`nbytes` with a binary unit and three digits: 735 MiB, 1.31 GiB."""
    value, unit = float(nbytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:.3g} {unit}"
