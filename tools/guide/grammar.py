"""Patterns of wordings: `(a|b|)` is one of its parts, `{word}` a named pattern. Knows no topic.

A pattern stands for many texts; `spoken` draws one of them. `noisy` writes a text as a person in a hurry does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

INNERMOST = re.compile(r"\(([^()]*\|[^()]*)\)")  # brackets without a bar are text
NAMED = re.compile(r"\{(\w+)\}")
SPELLINGS = {
    "what's": "whats", "don't": "dont", "can't": "cant", "doesn't": "doesnt", "i'm": "im", "please": "pls", "you": "u",
    "i'd": "id", "won't": "wont", "that's": "thats", "it's": "its", "thanks": "thx", "because": "cause",
    "llmlocal": "llm-local", "quantize": "quantise", "are": "r", "with": "w/", "want to": "wanna",
}  # fmt: skip
SMALL = {
    "a", "an", "the", "my", "i", "do", "does", "to", "is", "it", "of", "how", "can", "you", "me", "for", "please",
    "want", "would", "like", "need", "what's", "this", "that",
}  # fmt: skip
NEIGHBOURS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def spoken(pattern: str, words: Mapping[str, list[str]], rng: Random) -> str:
    """One of the texts that `pattern` stands for, with single blanks."""
    while found := NAMED.search(pattern):
        pattern = pattern[: found.start()] + rng.choice(words[found[1]]) + pattern[found.end() :]
    while found := INNERMOST.search(pattern):
        pattern = pattern[: found.start()] + rng.choice(found[1].split("|")) + pattern[found.end() :]
    return re.sub(r" +([?!,.])(?= |$)", r"\1", " ".join(pattern.split()))


def noisy(text: str, rng: Random) -> str:
    """`text` as people type it: casing, missing signs, short spellings, slips of the finger."""
    draw = rng.random()
    if draw < 0.40:
        text = text[:1].upper() + text[1:]
        text = re.sub(r"\bi\b", "I", text) if rng.random() < 0.8 else text
    elif draw < 0.43:
        text = text.upper()
    elif draw < 0.48:
        text = text.lower()
    elif draw < 0.49:
        text = text.title()
    if rng.random() < 0.08:  # in the style of a telegram
        text = " ".join([word for word in text.split() if word.lower() not in SMALL] or [text])
    if rng.random() < 0.12:
        for plain, short in SPELLINGS.items():
            if rng.random() < 0.5:
                text = re.sub(rf"\b{re.escape(plain)}\b", short, text)
    if rng.random() < 0.03:
        text = text.replace("'", "")
    if rng.random() < 0.16:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            text = _slip(text, rng)
    if rng.random() < 0.03:
        words = text.split()
        if len(words) > 4:
            del words[rng.randrange(len(words))]
        text = " ".join(words)
    return text


def _slip(text: str, rng: Random) -> str:
    """`text` with one letter lost, doubled, swapped with the next or hit beside. Short texts are left alone."""
    places = [i for i, sign in enumerate(text[:-1]) if sign.isalpha()]
    if len(places) < 6:
        return text
    i = rng.choice(places)
    match rng.randrange(4):
        case 0:
            return text[:i] + text[i + 1 :]
        case 1:
            return text[:i] + text[i] + text[i:]
        case 2:
            return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
        case _:
            row = next((row for row in NEIGHBOURS if text[i].lower() in row), text[i])
            at = max(0, row.find(text[i].lower()))
            return text[:i] + row[(at + rng.choice((-1, 1))) % len(row)] + text[i + 1 :]
