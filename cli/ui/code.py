"""Colours for lines of code. The highlighter is imported with the first line that has a language."""

from __future__ import annotations

from typing import Any

CONTEXT = 100  # lines before a line that say what it is in, such as a string over many lines
# Kinds of words, the special ones first, and their colours: the 16 that every terminal has, as its user set them.
COLOURS = (
    ("Comment", "\x1b[2m"),
    ("Keyword", "\x1b[35m"),
    ("Literal.String", "\x1b[32m"),
    ("Literal.Number", "\x1b[36m"),
    ("Name.Function", "\x1b[34m"),
    ("Name.Class", "\x1b[34m"),
    ("Name.Decorator", "\x1b[33m"),
    ("Name.Builtin", "\x1b[36m"),
    ("Name.Tag", "\x1b[34m"),
    ("Name.Attribute", "\x1b[33m"),
    ("Generic.Deleted", "\x1b[31m"),
    ("Generic.Inserted", "\x1b[32m"),
)
RESET = "\x1b[0m"


def highlighted(lines: list[str], language: str) -> str:
    """The last of a block's lines in colours; as it is where the language is not known."""
    lexer = _lexer(language)
    if lexer is None:
        return lines[-1]
    text = "\n".join(lines[-CONTEXT:]) + "\n"
    start, out, at = len(text) - len(lines[-1]) - 1, [], 0
    for kind, piece in lexer.get_tokens(text):
        end = at + len(piece)
        if end > start:
            out.append(_coloured(str(kind).removeprefix("Token."), piece[max(0, start - at) :]))
        at = end
    shown = "".join(out)
    return shown if at == len(text) else lines[-1]


def _lexer(language: str) -> Any:
    if not language:
        return None
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language.lower(), stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


def _coloured(kind: str, piece: str) -> str:
    piece = piece.removesuffix("\n")
    colour = next((colour for name, colour in COLOURS if kind.startswith(name)), "")
    return f"{colour}{piece}{RESET}" if colour and piece else piece
