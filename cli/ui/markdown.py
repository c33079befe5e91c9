"""Markdown as it streams in, with colours instead of its marks. Never moves the cursor.

What a line is shows in its first characters; from then on its text passes at once, but for marks that may begin
emphasis, which wait until they are closed or the line ends. Code comes line by line, a table when it is complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .markdown_table import table
from .wrap import DIM, RESET, Wrap, width_of

BOLD, ITALIC, UNDERLINE, STRIKE, CODE = "\x1b[1m", "\x1b[3m", "\x1b[4m", "\x1b[9m", "\x1b[36m"
LONGEST = 400  # characters that wait for the end of an emphasis

# Quotes are taken once and for all (*+): a blank between two marks could belong to either.
UNDECIDED = re.compile(r"(?:[ \t]{0,3}>[ \t]?)*+[ \t]{0,40}(?:`{0,2}|~{0,2}|#{1,6}|[-*+_]|\d{1,3}[.)]?|[-*_]{2,})?")
FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
# One blank and no more: whether others follow is not known yet.
HEADING = re.compile(r"(#{1,6})[ \t]")
BULLET = re.compile(r"([ \t]*)[-*+][ \t]")
NUMBER = re.compile(r"([ \t]*\d{1,3}[.)][ \t]+)")
QUOTES = re.compile(r"(?:[ \t]{0,3}>[ \t]?)+")
BULLETS = "•◦▪"  # of the levels of a list
RULE = re.compile(r"[ \t]{0,3}(?:-{3,}|\*{3,}|_{3,})[ \t]*$")

MARK = re.compile(r"[*_`~\[\\!]")
# Opening marks, how the whole looks, and how it is shown. The first that fits counts. __x__ is a name, not emphasis.
SPANS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("`", re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)"), CODE),
    ("***", re.compile(r"(\*\*\*)(?=\S)(.+?)(?<=\S)\1"), BOLD + ITALIC),
    ("**", re.compile(r"(\*\*)(?=\S)(.+?)(?<=\S)\1(?!\*)"), BOLD),
    ("*", re.compile(r"(\*)(?![\s*])(.+?)(?<![\s*])\1(?!\*)"), ITALIC),
    ("_", re.compile(r"(_)(?![\s_])(.+?)(?<![\s_])\1(?!\w)"), ITALIC),
    ("~~", re.compile(r"(~~)(?=\S)(.+?)(?<=\S)\1"), STRIKE),
)
LINK = re.compile(r"!?\[([^\[\]]*)\]\(\s*<?([^()\s<>]+(?:\([^()\s]*\))?)>?(?:\s+\"[^\"]*\")?\s*\)")
LINK_SO_FAR = re.compile(r"!?\[[^\[\]]*(?:\](?:\([^()\n]*(?:\([^()\s]*\)?)?)?)?$")
ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")


class Markdown:
    """Text in, text with colours out. What comes in must be safe to show already; only colours are added to it.

    `columns` says how wide the terminal is, `highlight(lines, language)` gives the last of a block's lines in colours.
    `wrap` breaks lines of text; without it none is broken.
    """

    def __init__(
        self, columns: Callable[[], int], highlight: Callable[[list[str], str], str], wrap: Wrap | None = None
    ) -> None:
        self._columns, self._highlight, self._wrap = columns, highlight, wrap or Wrap(lambda: 0)
        self._line = ""  # what is not decided yet of the present line
        self._style = ""  # of the present line, once it is known what it is
        self._known = False
        self._before = ""  # the last character that was shown of this line
        self._fence, self._language, self._code = "", "", [""]
        self._rows: list[str] = []

    def push(self, text: str) -> str:
        """What can be shown now."""
        out = []
        for piece in text.splitlines(keepends=True) if "\r" not in text else re.split(r"(?<=\n)", text):
            body = piece.removesuffix("\n")
            self._line += body
            out.append(self._ended() if body != piece else self._going())
        return "".join(out)

    def finish(self) -> str:
        """The rest; a new text may follow."""
        rest = self._ended().removesuffix("\n") if self._line or self._known else ""
        if self._rows:
            rest = self._table().removesuffix("\n")
        rest += self._wrap.finish()
        self._fence, self._rows = "", []
        return rest

    # ---- lines ------------------------------------------------------------------------------------------------------

    def _going(self) -> str:
        """What can be shown of a line that goes on."""
        if self._fence:
            return ""
        if self._known:
            return self._wrap.push(self._inline(final=False))
        held = self._line
        if UNDECIDED.fullmatch(held) or FENCE.match(held) or RULE.match(held) or held.lstrip().startswith("|"):
            return ""
        return self._leave_table() + self._begin() + self._wrap.push(self._inline(final=False))

    def _ended(self) -> str:
        """The end of a line."""
        if self._fence:
            return self._code_line()
        if not self._known:
            line = self._line
            if line.lstrip().startswith("|") or (self._rows and "|" in line):
                self._rows.append(line)
                self._line = ""
                return ""
            before = self._leave_table()
            if fence := FENCE.match(line):
                self._fence, self._code = fence[1], []
                self._language = (line[fence.end() :].split() or [""])[0]
                self._line = ""
                return before + self._wrap.whole(f"{DIM}{line}{RESET}\n")
            if RULE.match(line):
                self._line = ""
                return before + self._wrap.whole(f"{DIM}{'─' * 20}{RESET}\n")
            start = before + self._begin()
        else:
            start = ""
        text = start + self._wrap.push(self._inline(final=True) + RESET * bool(self._style) + "\n")
        self._style, self._known, self._before = "", False, ""
        return text

    def _begin(self) -> str:
        """What stands before the text of a line, now that it is known what line it is; further lines are indented."""
        self._known = True
        mark, hang = self._quotes()
        if found := HEADING.match(self._line):
            style = BOLD + UNDERLINE if len(found[1]) == 1 else BOLD
            self._style += style
            mark += style
        elif found := BULLET.match(self._line):
            level = width_of(found[1].expandtabs(4)) // 2
            item = f"{found[1]}{BULLETS[min(level, 2)]} "
            mark, hang = mark + item, hang + " " * width_of(item.expandtabs(4))
        elif found := NUMBER.match(self._line):
            mark, hang = mark + found[1], hang + " " * width_of(found[1].expandtabs(4))
        self._line = self._line[found.end() :] if found else self._line
        shown = self._wrap.push(mark)
        self._wrap.hang = hang
        return shown

    def _quotes(self) -> tuple[str, str]:
        """The bars of a quote, and those before its further lines; what is quoted is dim."""
        found = QUOTES.match(self._line)
        if not found:
            return "", ""
        bars = "│ " * found[0].count(">")
        self._line, self._style = self._line[found.end() :], DIM
        return DIM + bars, DIM + bars + RESET

    def _code_line(self) -> str:
        line, self._line = self._line, ""
        if line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0]):
            self._fence = ""
            return self._wrap.whole(f"{DIM}{line}{RESET}\n")
        self._code.append(line)
        return self._wrap.whole(self._highlight(self._code, self._language) + "\n")

    # ---- within a line ----------------------------------------------------------------------------------------------

    def _inline(self, *, final: bool) -> str:
        """What is certain of the text of a line, its marks replaced by colours."""
        out = []
        while self._line:
            found = MARK.search(self._line)
            at = found.start() if found else len(self._line)
            out.append(self._plain(at))
            if not found:
                break
            shown, taken = self._marked(self._line, final)
            if not taken:
                break  # wait for more
            self._before, self._line = self._line[taken - 1], self._line[taken:]
            out.append(shown)
        return "".join(out)

    def _plain(self, n: int) -> str:
        text, self._line = self._line[:n], self._line[n:]
        self._before = text[-1:] or self._before
        return text

    def _marked(self, text: str, final: bool) -> tuple[str, int]:
        """What a text that begins with a mark shows, and how much of it that takes; 0 where more must come first."""
        if found := ESCAPED.match(text):
            return found[1], 2
        if text[0] in "[!":
            return self._link(text, final)
        for mark, pattern, style in SPANS:
            if not text.startswith(mark) or (mark[0] == "_" and (self._before.isalnum() or self._before == "_")):
                continue
            found = pattern.match(text)
            if found and (final or found.end() < len(text)):
                inner = found[2] if style == CODE else self._within(found[2], self._style + style)
                return f"{style}{inner}{RESET}{self._style}", found.end()
        run = len(text) - len(text.lstrip(text[0]))
        after = text[run : run + 1]
        blank = after.isspace() and text[0] != "`"
        blank = blank or (text[0] == "_" and self._before.isalnum()) or (text[0] == "~" and run != 2)
        if not final and (not after or (not blank and len(text) < LONGEST and text[0] != "\\")):
            return "", 0
        return text[:run], run

    def _link(self, text: str, final: bool) -> tuple[str, int]:
        if found := LINK.match(text):
            words, address = found[1] or found[2], found[2]
            more = "" if words == address else f" {DIM}({address}){RESET}{self._style}"
            return f"{UNDERLINE}{words}{RESET}{self._style}{more}", found.end()
        if not final and len(text) < LONGEST and (LINK_SO_FAR.match(text) or text == "!"):
            return "", 0
        return text[0], 1

    def _within(self, text: str, style: str) -> str:
        inner = Markdown(self._columns, self._highlight)
        inner._line, inner._style, inner._known = text, style, True
        return inner._inline(final=True)

    # ---- tables -----------------------------------------------------------------------------------------------------

    def _leave_table(self) -> str:
        return self._table() if self._rows else ""

    def _table(self) -> str:
        """The rows that were held, in columns; unchanged where they are not a table."""
        rows, self._rows = self._rows, []
        lines = table(rows, self._columns(), lambda cell: self._within(cell, ""))
        if lines is None:
            return "".join(self._wrap.push(f"{self._within(row, '')}\n") for row in rows)
        return self._wrap.whole("\n".join(lines) + "\n")
