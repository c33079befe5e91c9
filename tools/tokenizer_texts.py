"""Random texts that hurt tokenizers: scripts of the world, emoji, code, digits, blanks of all kinds, broken UTF-8."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

SCRIPTS = (
    *((0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x58F)),
    *((0x591, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0x9FE), (0xB80, 0xBFA), (0xE01, 0xE5B), (0xE80, 0xEDF)),
    *((0xF00, 0xFDA), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137C), (0x13A0, 0x13FD)),
    *((0x1680, 0x169C), (0x1780, 0x17F9), (0x1820, 0x1877), (0x1E00, 0x1FFE), (0x2000, 0x206F), (0x2070, 0x218B)),
    *((0x2190, 0x23FF), (0x2E80, 0x303F), (0x3040, 0x30FF), (0x3100, 0x318F), (0x3400, 0x4DFF), (0x4E00, 0x9FFF)),
    *((0xA000, 0xA4C6), (0xA640, 0xA69F), (0xA9E0, 0xAA7F), (0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0xFB00, 0xFE4F)),
    *((0xFE50, 0xFFEF), (0x10400, 0x1044F), (0x10D40, 0x10D65), (0x1D400, 0x1D7FF), (0x1F000, 0x1FAFF)),
    *((0x20000, 0x2A6FF), (0x2B700, 0x2B930), (0x2CE90, 0x2CED0), (0x2F800, 0x2FA2F), (0xE0000, 0xE01EF)),
)
DIGITS = "0123456789" * 3 + "٠١٢٣٤٥٦٧٨٩०१२३४५६७८९²³¼½①ⅣⅤ〇一二三𝟘𝟙𝟚"
RARE_BLANKS = (
    0x85,
    0xA0,
    0x1680,
    0x180E,
    0x2000,
    0x2003,
    0x2009,
    0x200B,
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
    0xFEFF,
)
BLANKS = " " * 8 + "\n\n\n\r\t\v\f\x1c\x1f" + "".join(map(chr, RARE_BLANKS))
WORDS = """
's 't 're 've 'm 'll 'd 'S 'T 'RE 'Ve 'lL 'D 'ſ ’s I'm we'LL don't IT'S 'sa '' '
def f(x): return x**2 {{ }} <!-- --> /* */ // #include <a.h> => != && :: -> ; ();
👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ❤️ 1️⃣ 🧑🏿‍🚀 ☺︎ 𝔘𝔫𝔦 ﬁ Å Å ẛ̣ क्षि ไม่ 안녕 각 각
http://a.b/c?d=e a_b-c user@host.io 3.14e-10 1,234,567 0x1F CamelCaseHTML ÄÖÜß straße ΣΊΣΥΦΟΣ İstanbul ŉ
<sentinel:12> IMGIMGABCZ <dna> hello world the The THE and | . ? ! ... … ， 、 ، ۔ ( ) [ ] ~ ^ ` $ + = ▁ ▁▁ ｈｏ ① é Å
"""
PIECES = (*WORDS.split(), "'\n", "\r\n", "\n\n", "\t\t", "    ", "", "> ")


def random_text(rng: random.Random, words: Sequence[str] = ()) -> str:
    """One text of a few parts; `words` are more strings to be thrown in, such as tokens."""
    makers: list[Callable[[random.Random], str]] = [
        _script,
        _script,
        _digits,
        _blanks,
        _piece,
        _piece,
        _any,
        _repeat,
        _broken,
    ]
    if words:
        makers += [lambda rng: rng.choice(words)] * 3
    return "".join(rng.choice(makers)(rng) for _ in range(rng.choice((1, 2, 3, 5, 8, 13, 30))))


def _script(rng: random.Random) -> str:
    low, high = rng.choice(SCRIPTS) if rng.random() < 0.6 else (0x61, 0x7A)
    text = "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 9)))
    return text + rng.choice(("", "", " ", ". ", "\u0301"))


def _digits(rng: random.Random) -> str:
    return "".join(rng.choice(DIGITS) for _ in range(rng.choice((1, 2, 3, 4, 5, 7, 12))))


def _blanks(rng: random.Random) -> str:
    return "".join(rng.choice(BLANKS) for _ in range(rng.choice((1, 1, 2, 3, 6))))


def _piece(rng: random.Random) -> str:
    return rng.choice(PIECES) + rng.choice(("", " "))


def _any(rng: random.Random) -> str:
    code = rng.randrange(1, rng.choice((0x80, 0x800, 0x10000, 0x110000)))
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)


def _repeat(rng: random.Random) -> str:
    times: int = rng.choice((2, 3, 5, 9, 17, 40, 600))
    unit: str = rng.choice((*PIECES, *"aA1 '\n-日é\u0301👍"))
    return unit * times


def _broken(rng: random.Random) -> str:
    data = bytearray(_script(rng).encode() + _piece(rng).encode())
    data[rng.randrange(len(data))] = rng.randrange(1, 256)
    return data.decode("utf-8", "replace")
