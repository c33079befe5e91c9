"""Splits a text into words with regular expressions and functions: the building blocks of pre-tokenizers.

As in llama.cpp a pattern is matched against a text of classes: ASCII stays, any other character becomes the marker of
its Unicode class, and whitespace becomes `\\v`. So patterns are plain ASCII, Python's own `re` suffices, and the result
does not depend on the release of Python. Text between matches becomes a word of its own.

All patterns must run in linear time: alternatives that fail must fail after one look at each character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from .unicode_classes import BLANKS, LETTER, MARK, NUMBER, PUNCTUATION, SYMBOL, classes

Cut = Callable[[str], list[str]]

# Bracket contents for \p{L} and so on: the ASCII characters of the class and the marker of all others.
L, N, M = "A-Za-z\x81", "0-9\x82", "\x83"
P, S = r"!-#%-*,-/:;?@\[-\]_{}" + "\x84", r"$+<=>\^`|~" + "\x85"
HAN_LETTER, HAN_OTHER = "\x86", "\x87"  # only in `by_han_classes`, where L excludes them
_SIGNS = {LETTER: "\x81", NUMBER: "\x82", MARK: "\x83", PUNCTUATION: "\x84", SYMBOL: "\x85"}
_HAN = (
    *(range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0xF900, 0xFB00)),
    *(range(0x20000, 0x2A6E0), range(0x2A700, 0x2EBF0), range(0x2F800, 0x2FA20)),
)
_BLANK = "[ \t-\r]"
_FOREIGN_BLANK = re.compile("[" + "".join(char for char in BLANKS if char > "\x7f") + "]")
REMEMBERED_LENGTH = 16


class Pattern(NamedTuple):
    """A regular expression whose matches are words, and the function that maps a text to what it is matched against."""

    text: str
    view: Callable[[str], str]


@cache
def _signs() -> str:
    """A table for `str.translate`: the class marker of every character."""
    table = classes().translate({ord(kind): _SIGNS.get(kind, "\x80") for kind in "LNMPSZCX"})
    signs = list(table[:0x3001])
    signs[:128] = map(chr, range(128))
    for blank in BLANKS[BLANKS.index(" ") + 1 :]:
        signs[ord(blank)] = "\v"
    return "".join(signs) + table[0x3001:]


@cache
def _han_signs() -> str:
    table = _signs()
    for span in _HAN:
        inside = "".join(HAN_LETTER if sign == _SIGNS[LETTER] else HAN_OTHER for sign in table[span.start : span.stop])
        table = table[: span.start] + inside + table[span.stop :]
    return table


def classes_of(text: str) -> str:
    """`text` with each non-ASCII character replaced by its class marker."""
    return text if text.isascii() else text.translate(_signs())


def _han_classes_of(text: str) -> str:
    return text if text.isascii() else text.translate(_han_signs())


def _characters_of(text: str) -> str:
    return text if text.isascii() else _FOREIGN_BLANK.sub("\v", text)


def by_classes(pattern: str) -> Pattern:
    """A pattern that is matched against classes."""
    return Pattern(pattern, classes_of)


def by_han_classes(pattern: str) -> Pattern:
    """A pattern that is matched against classes, with separate markers for Chinese characters."""
    return Pattern(pattern, _han_classes_of)


def by_characters(pattern: str) -> Pattern:
    """A pattern that is matched against the characters themselves, with non-ASCII whitespace as `\\v`."""
    return Pattern(pattern, _characters_of)


def thousands(text: str) -> list[str]:
    """Split numbers into groups of three digits from their end; text before a number stays with its first digits."""
    cuts: list[int] = []
    for run in re.finditer(f"[{N}]+", classes_of(text)):
        start, end = run.span()
        cuts += range(start + ((end - start) % 3 or 3), end + 1, 3)
    return _cut_at(text, cuts)


def ascii_thousands(text: str) -> list[str]:
    """Split before every three ASCII digits, counted from the end of a number."""
    cuts: list[int] = []
    for run in re.finditer("[0-9]+", text):
        start, end = run.span()
        cuts += range(start + (end - start) % 3, end, 3)
    return _cut_at(text, cuts)


def blanks_at_end(text: str) -> list[str]:
    """Split off trailing whitespace. (As a pattern, `\\s+$`, it takes quadratic time.)"""
    return _cut_at(text, [len(_characters_of(text).rstrip(" \t\n\v\f\r"))])


def blanks_by_powers_of_two(text: str) -> list[str]:
    """Split a word of whitespace that does not end with a newline into pieces of 512, 256, ... 1 characters."""
    if len(text) < 2 or not re.fullmatch(f"{_BLANK}*[ \t\v\f]", _characters_of(text)):
        return [text]
    cuts = list(range(512, len(text), 512))
    at = cuts[-1] if cuts else 0
    for size in (512, 256, 128, 64, 32, 16, 8, 4, 2):
        if len(text) - at >= size:
            at += size
            cuts.append(at)
    return _cut_at(text, cuts)


def _cut_at(text: str, cuts: Iterable[int]) -> list[str]:
    return [text[start:end] for start, end in pairwise((0, *cuts, len(text))) if start < end]


class Splitter:
    """Applies patterns and functions in sequence, each to the words that the previous one returned."""

    def __init__(self, stages: Iterable[Pattern | Cut]) -> None:
        self._cuts = [_compiled(stage) if isinstance(stage, Pattern) else stage for stage in stages]

    def split(self, text: str) -> list[str]:
        """The words of `text`; joined they give the text again."""
        words = [text] if text else []
        for cut in self._cuts:
            words = _each(cut, words)
        return words


def _each(cut: Cut, words: list[str]) -> list[str]:
    if len(words) == 1:
        return cut(words[0])
    known: dict[str, list[str]] = {}  # for example, a mebibyte of newlines is a million equal words
    pieces: list[str] = []
    for word in words:
        found = known.get(word)
        if found is None:
            found = cut(word)
            if len(word) <= REMEMBERED_LENGTH:
                known[word] = found
        pieces += found
    return pieces


def _compiled(pattern: Pattern) -> Cut:
    split, view = re.compile(f"({pattern.text})", re.ASCII).split, pattern.view

    def cut(text: str) -> list[str]:
        seen = view(text)
        words = list(filter(None, split(seen)))
        if seen is text:
            return words
        pieces, start = [], 0
        for word in words:
            end = start + len(word)
            pieces.append(text[start:end])
            start = end
        return pieces

    return cut
