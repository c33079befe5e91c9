"""Strings that track which of their characters came from outside the template.

A mask holds one byte per character: 1 for text of users and files, 0 for the template's own. Text without any 1 is a
plain str. Python's own string methods lose the mask, so the sandbox calls those of `strings` instead; the result of
an operation that cannot be tracked counts as user text as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

RUN = re.compile(rb"\x00+|\x01+")


class Marked(str):
    """A str with a mask. Compares like the plain str."""

    __slots__ = ("mask",)
    mask: bytes

    def __str__(self) -> str:
        return self  # str() would drop the mask

    def __getitem__(self, key: Any) -> str:
        if isinstance(key, slice):
            return with_mask(super().__getitem__(key), self.mask[key])
        return with_mask(super().__getitem__(key), bytes((self.mask[key],)))

    def __iter__(self) -> Iterator[str]:
        pairs = zip(super().__iter__(), self.mask, strict=True)
        return (with_mask(char, b"\x01") if bit else char for char, bit in pairs)


class Safe(Marked):
    """HTML, the result of jinja2's `safe` and `escape`; other text is escaped where `+` adds it."""

    __slots__ = ()

    @classmethod
    def of(cls, text: str) -> Safe:
        """`text` as HTML, each character keeping its origin."""
        safe = cls(plain(text))
        safe.mask = mask_of(text)
        return safe


def is_user(text: str) -> bool:
    """Whether `text` contains user text."""
    return isinstance(text, Marked) and 1 in text.mask


def with_mask(text: str, mask: bytes) -> str:
    """`text` with a mask of the same length; a plain str where nothing is marked."""
    if 1 not in mask:
        return plain(text)
    marked = Marked(text)
    marked.mask = mask
    return marked


def plain(text: str) -> str:
    """`text` without its mask and without any subclass of str, such as jinja2's Markup."""
    return text if type(text) is str else str.__str__(text)


def mark_user(text: str) -> str:
    """All of `text` marked as user text."""
    return with_mask(plain(text), b"\x01" * len(text))


def mask_of(text: str) -> bytes:
    return text.mask if isinstance(text, Marked) else bytes(len(text))


def joined(pieces: Iterable[str]) -> str:
    """The pieces joined, each character keeping its origin."""
    pieces = list(pieces)
    text = "".join(pieces)
    if not any(isinstance(piece, Marked) for piece in pieces):
        return text
    return with_mask(text, b"".join(map(mask_of, pieces)))


def runs(text: str) -> Iterator[tuple[str, bool]]:
    """`text` split where the origin changes: pairs of a plain str and whether it is user text."""
    whole = plain(text)
    for run in RUN.finditer(mask_of(text)):
        yield whole[run.start() : run.end()], run[0][0] == 1
