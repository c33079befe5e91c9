"""Breaks lines between words as text streams in. Characters count as the columns that they take, colours as none.

The word at the end waits until it is complete, since only then it is known whether it fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

DIM, RESET = "\x1b[2m", "\x1b[0m"
COLOUR = re.compile("\x1b\\[[0-9;]*m")
PIECE = re.compile("\x1b\\[[0-9;]*m|\n|[ \t]+|[^ \t\n\x1b]+|\x1b")
TAB = 8
FENCE = re.compile(r"[ \t]*(?:`{3}|~{3})")
# Marks that stay with the character before them, and those that stay with the one after, in texts without blanks.
CLOSING = frozenset("、。，．：；！？）］｝」』】〉》〕〗”’…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ,.:;!?)]}%")
OPENING = frozenset("（［｛「『【〈《〔〖“‘([{")
HANGUL = range(0xAC00, 0xD7A4)  # wide, but with blanks between words
JOINER = "\u200d"


class Wrap:
    """Text with colours in, the same with line feeds out.

    `columns` says how wide the terminal is; 0 passes everything at once. `hang` is what the further lines of the
    present line begin with. `hard` also breaks words that are longer than a line; otherwise the terminal does.
    """

    def __init__(self, columns: Callable[[], int], *, hard: bool = False) -> None:
        self._columns, self._hard = columns, hard
        self.hang = ""
        self._at = 0  # columns that are taken of the present line
        self._blanks, self._word = "", ""  # what waits
        self._style = ""  # the colours in force

    def push(self, text: str) -> str:
        """What can be shown now."""
        if not self._columns():
            return text
        out = []
        for piece in PIECE.findall(text):
            if piece == "\n":
                out += [self._put(), self._end_line()]
            elif piece.isspace() and piece[0] in " \t":
                out.append(self._put())
                self._blanks += piece
            elif self._hard and piece[0] != "\x1b" and width_of(self._word + piece) > self._columns():
                out += [self._letter(char) for char in piece]
            elif piece.isascii():
                self._word += piece
            else:
                *whole, last = _unbreakable(self._word, piece)
                for self._word in whole:
                    out.append(self._put())
                self._word = last
        return "".join(out)

    def finish(self) -> str:
        """What waits; a new line begins."""
        rest = self._put() + self._blanks
        self._at, self._blanks, self.hang = 0, "", ""
        return rest

    def whole(self, text: str) -> str:
        """Lines that are shown as they are."""
        return self.finish() + text

    def _end_line(self) -> str:
        room = self._columns() - self._at
        blanks = self._blanks if len(self._blanks) <= room else ""
        self._at, self._blanks, self.hang = 0, "", ""
        return blanks + "\n"

    def _letter(self, char: str) -> str:
        """Add a character to a word that is longer than a line."""
        before = self._put() if width_of(self._word + char) > self._columns() else ""
        self._word += char
        return before

    def _put(self) -> str:
        """The word that waits, on this line or the next."""
        if not self._word:
            return ""
        before, width, limit = self._blanks, width_of(self._word), self._columns()
        blanks = _blank_width(before, self._at)
        hang = self.hang if 2 * width_of(self.hang) <= limit else ""  # a deep one would leave no room
        if self._at + blanks + width > limit and self._at > width_of(self.hang) and width:
            before = RESET * bool(self._style) + "\n" + hang + self._style
            self._at, blanks = width_of(hang), 0
        self._at += blanks + width
        if self._at > limit > 0:  # longer than a line: the terminal breaks it
            self._at = (self._at - 1) % limit + 1
        for colour in COLOUR.findall(self._word):
            self._style = "" if colour == RESET else self._style + colour
        text = before + self._word
        self._blanks = self._word = ""
        return text


class PlainText:
    """Wraps a text that is shown as it is; lines of code between fences stay whole."""

    def __init__(self, wrap: Wrap) -> None:
        self._wrap = wrap
        self._line, self._known, self._code = "", False, False

    def push(self, text: str) -> str:
        """What can be shown now."""
        return "".join(self._piece(piece) for piece in re.split(r"(?<=\n)", text) if piece)

    def finish(self) -> str:
        """The rest; a new text may follow."""
        rest = self._shown() + self._wrap.finish()
        self._line, self._known, self._code = "", False, False
        return rest

    def _piece(self, piece: str) -> str:
        self._line += piece
        ended = piece.endswith("\n")
        start = self._line.strip()
        if not self._known and not ended and ("```".startswith(start) or "~~~".startswith(start)):
            return ""  # it may become a fence
        fence = not self._known and FENCE.match(self._line) is not None
        shown = self._wrap.whole(self._line) if fence else self._shown()
        self._code ^= fence
        self._line, self._known = "", not ended
        return shown

    def _shown(self) -> str:
        return self._wrap.whole(self._line) if self._code else self._wrap.push(self._line)


def wrapped(text: str, columns: int, hang: int = 0, *, hard: bool = False) -> str:
    """`text` in lines of at most `columns`, those after the first indented by `hang`; 0 leaves it as it is."""
    wrap = Wrap(lambda: columns, hard=hard)
    wrap.hang = " " * hang
    return wrap.push(text) + wrap.finish()


@lru_cache(4096)
def width_of(text: str) -> int:
    """Columns that a text takes on a terminal; colours take none."""
    plain = COLOUR.sub("", text) if "\x1b" in text else text
    if plain.isascii():
        return len(plain)
    from wcwidth import wcswidth

    return max(wcswidth(plain), 0)


def _unbreakable(before: str, text: str) -> Iterator[str]:
    """`before` and `text` in parts between which a line may be broken though there is no blank: beside CJK."""
    part = before
    for char in text:
        last = part[-1:]
        wide = _breaks(char) or (last and _breaks(last))
        if part and wide and char not in CLOSING and last not in OPENING and last != JOINER and width_of(char):
            yield part
            part = ""
        part += char
    yield part


def _breaks(char: str) -> bool:
    return not char.isascii() and ord(char) not in HANGUL and width_of(char) == 2


def _blank_width(blanks: str, at: int) -> int:
    """Columns that blanks take after column `at`."""
    end = at
    for blank in blanks:
        end += TAB - end % TAB if blank == "\t" else 1
    return end - at
