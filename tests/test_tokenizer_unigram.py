"""Unigram finds the best of all spellings, and the precompiled map replaces what it says, the longest first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import BYTES, unigram

from llmlocal.errors import BadFileError
from llmlocal.tokenizer import load
from llmlocal.tokenizer.charsmap import Charsmap
from llmlocal.tokenizer.vocab import SPACE

sys.path.append(str(Path(__file__).parents[1] / "tools"))
charsmap = import_module("tokenizer_vocabularies").charsmap
N_FIXED = 3
WORDS = {"▁": -2.0, "a": -3.0, "b": -4.0, "ab": -5.0, "▁a": -4.0, "▁ab": -6.5}


def spellings(text: str, scores: dict[str, float], unknown: float) -> Iterator[tuple[float, list[str]]]:
    """Every way to spell a text, with its score."""
    if not text:
        yield 0.0, []
    for end in range(1, len(text) + 1):
        piece = text[:end]
        if piece in scores or (end == 1 and piece not in scores):
            for score, rest in spellings(text[end:], scores, unknown):
                yield scores.get(piece, unknown) + score, [piece, *rest]


SCORES = st.integers(-16, -1).map(lambda n: n / 2)


@given(
    words=st.dictionaries(st.text("ab日", min_size=1, max_size=3), SCORES, min_size=1),
    text=st.text("ab日c", max_size=8),
)
@settings(max_examples=200, deadline=None)
def test_equals_the_best_of_all(words: dict[str, float], text: str) -> None:
    tokenizer = load(unigram(words))
    unknown = min(words.values()) - 10
    best = max((score for score, _ in spellings(text, words, unknown)), default=0.0)
    ids = tokenizer.encode(text, add_special=False)
    spelled = [tokenizer.token_text(id) for id in ids]
    assert all(pair != ("<unk>", "<unk>") for pair in pairwise(spelled))
    if "<unk>" not in spelled:
        assert "".join(spelled) == text and sum(words[piece] for piece in spelled) == best
    else:
        assert best <= unknown


def test_eos_unknown_and_defaults() -> None:
    tokenizer = load(unigram(WORDS))
    assert tokenizer.encode("ab日語a") == [N_FIXED + 3, 2, N_FIXED + 1, 1]
    assert tokenizer.vocab.special == {"eos": 1, "unk": 2, "pad": 0} and tokenizer.unk_id == 2
    assert tokenizer.decode(tokenizer.encode("ab a")) == "ab a"


@pytest.mark.parametrize(
    ("prefix", "squeezes", "text", "normalized"),
    [
        (False, False, " a  b ", "▁a▁▁b▁"),
        (True, False, " a  b ", "▁▁a▁▁b▁"),
        (True, True, " a  b ", "▁a▁b"),
        (False, True, "a", "▁a"),
        (True, False, "  ", "▁▁"),
        (True, True, "  ", ""),
    ],
)
def test_blanks(prefix: bool, squeezes: bool, text: str, normalized: str) -> None:
    chars = dict.fromkeys("▁ab", -1.0)
    tokenizer = load(unigram(chars, add_space_prefix=prefix, remove_extra_whitespaces=squeezes))
    assert "".join(map(tokenizer.token_text, tokenizer.encode(text, add_special=False))) == normalized


def test_user_defined_tokens_and_bytes() -> None:
    over = {"token_type": [3, 3, 2] + [1] * 6 + [4, 5]}
    tokenizer = load(unigram({**WORDS, "[x]": -99.0, "bb": -1.0}, **over))
    assert tokenizer.encode("a[x]bb", add_special=False) == [N_FIXED + 1, N_FIXED + 6, N_FIXED + 7]
    types = [3, 3, 2] + [1] * 6 + [6] * 256
    tokenizer = load(unigram({**WORDS, **dict.fromkeys(BYTES, 0.0)}, token_type=types))
    assert tokenizer.decode(tokenizer.encode("ab日語\n")) == "ab日語\n"
    assert tokenizer.decode_bytes(tokenizer.encode(b"a\xffb")) == b"a\xffb"
    assert tokenizer.encode("<unk></s><0x41>").count(2) == 0


REPLACED = {"a\u0301": "á", "a": "A", "ｈ": "h", "...": "…", "\u200b": "", "日本": "x", "\r\n": " "}


@given(parts=st.lists(st.sampled_from([*REPLACED, "\u0301", ".", "..", "日", "本", "b", "\0", "\r", "é"]), max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_map_replaces_the_longest_first(parts: list[str]) -> None:
    text, at, expected = "".join(parts), 0, ""
    while at < len(text):
        key = max((key for key in REPLACED if text.startswith(key, at)), key=len, default="")
        expected += REPLACED[key] if key else text[at]
        at += len(key) or 1
    assert Charsmap(charsmap(REPLACED)).replace(text) == expected


def test_damaged_maps() -> None:
    data = charsmap(REPLACED)
    for bad in (b"", data[:3], data[:100], b"\xff" * 40, (2).to_bytes(4, "little") + data[4:]):
        with pytest.raises(BadFileError, match="precompiled_charsmap"):
            Charsmap(bad)
    size = int.from_bytes(data[:4], "little")
    with pytest.raises(BadFileError, match="no replacement"):
        Charsmap(data[: 4 + size] + b"x").replace("a")
    outside = b"\4\0\0\0" + (1 << 30).to_bytes(4, "little") + b"\0"
    with pytest.raises(BadFileError, match="node 1048673 of 1"):
        Charsmap(outside).replace("a")
    with pytest.raises(BadFileError, match="must hold bytes"):
        load(unigram(WORDS, precompiled_charsmap=[300]))
    for wrong, told in ((5, "is 5, not an array"), ("text", "not an array"), (["a"], "must hold integers")):
        with pytest.raises(BadFileError, match=told):
            load(unigram(WORDS, precompiled_charsmap=wrong))
    assert load(unigram(WORDS, precompiled_charsmap=[byte - 256 * (byte > 127) for byte in data])).encode("a")


def test_scores_are_needed() -> None:
    with pytest.raises(BadFileError, match="scores is missing"):
        load(unigram(WORDS, scores=None))


@pytest.mark.parametrize("unit", ["ab", " ", "日", "..."])
def test_linear_time(unit: str) -> None:
    tokenizer = load(unigram(WORDS, precompiled_charsmap=list(charsmap(REPLACED))))
    tokenizer.encode(unit * (2**18 // len(unit.encode())))


def test_a_file_cannot_ask_for_quadratic_time() -> None:
    """Maps that walk far at each character, replacements without measure, and tokens that are prefixes of others."""
    far = Charsmap(charsmap({"a" * 100: "b"}))
    with pytest.raises(BadFileError, match="more than 64 characters"):
        far.replace("a" * 8000)
    assert Charsmap(charsmap({"a" * 60: "b"})).replace("a" * 59 + "c") == "a" * 59 + "c"
    with pytest.raises(BadFileError, match="a replacement of 5000 bytes"):
        Charsmap(charsmap({"a": "b" * 5000})).replace("a")
    with pytest.raises(BadFileError, match="lengths of tokens that begin with 'aa', up to 6000"):
        load(unigram({"a" * n: -float(n) for n in range(1, 6001)}))
    blanks = load(unigram({SPACE * n: -float(n) for n in range(1, 257)}))
    assert blanks.encode("  ")
