"""WordPiece equals its golden file and a slow, plain one, and makes text plain as BERT does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import bert, golden, real_tokenizer

from llmlocal.errors import BadFileError
from llmlocal.tokenizer import StreamDecoder, load
from llmlocal.tokenizer.wpm import PlainChars

UNK, CLS, SEP = 1, 2, 3


def test_golden_texts() -> None:
    _, pairs = golden("bert-bge")
    tokenizer = real_tokenizer("bert-bge")
    assert len(pairs) == 46
    for text, ids in pairs:
        assert tokenizer.encode(text, add_special=False) == ids, repr(text)
    assert tokenizer.encode("Hello, world!") == [101, 7592, 1010, 2088, 999, 102]
    assert tokenizer.decode([101, 7592, 1010, 2088, 999, 102]) == "hello , world !"


def slow_words(text: str, tokens: list[str]) -> list[str]:
    """The meaning of the longest token first: try every end, the last one first."""
    found: list[str] = []
    for word in text.split(" "):
        rest, pieces = "▁" + word if word else "", []
        while rest:
            piece = next((rest[:end] for end in range(len(rest), 0, -1) if rest[:end] in tokens), None)
            if piece is None:
                pieces = ["[UNK]"]
                break
            pieces.append(piece)
            rest = rest[len(piece) :]
        found += pieces
    return found


@given(words=st.lists(st.text("▁abcdé", min_size=1, max_size=4), unique=True), text=st.text("abcdé ", max_size=30))
@settings(max_examples=200, deadline=None)
def test_equals_the_slow_one(words: list[str], text: str) -> None:
    tokenizer = load(bert(*words, **{"normalizer.lowercase": False}))
    ids = tokenizer.encode(text)
    assert (ids[0], ids[-1]) == (CLS, SEP)
    assert [tokenizer.token_text(id) for id in ids[1:-1]] == slow_words(text, words)


@pytest.mark.parametrize(
    ("over", "text", "tokens"),
    [
        ({}, "ÉTÉ\u3000a\x07b\u200b \ufffd\0", ["▁ete", "▁ab"]),
        ({}, "a-b", ["▁a", "▁-", "▁b"]),
        ({}, "日本a", ["▁日", "▁本", "▁a"]),
        ({"normalizer.lowercase": False}, "ÉTÉ ab", ["▁ÉTÉ", "▁ab"]),
        ({"normalizer.lowercase": False, "normalizer.strip_accents": True}, "ÉTÉ", ["▁ETE"]),
        ({"normalizer.strip_accents": False}, "ÉTÉ", ["▁été"]),
    ],
)
def test_plain_text(over: dict[str, Any], text: str, tokens: list[str]) -> None:
    tokenizer = load(bert("▁ete", "▁ÉTÉ", "▁ETE", "▁été", "▁ab", "▁a", "▁b", "▁-", "▁日", "▁本", **over))
    assert [tokenizer.token_text(id) for id in tokenizer.encode(text, add_special=False)] == tokens


@pytest.mark.parametrize(
    "text, plain", [("षेलो", "षलो"), ("ক\u09cb", "ক\u09c7\u09be"), ("한", "\u1112\u1161\u11ab"), ("Ǻ", "a")]
)
def test_what_is_stripped_is_what_tokenizers_strips(text: str, plain: str) -> None:
    """By `BertNormalizer` of tokenizers 0.23.3: nonspacing marks go, others and all of a Korean syllable stay."""
    assert text.translate(PlainChars(True, True)) == plain


def test_unknown_and_special_words() -> None:
    tokenizer = load(bert("▁a", "b", "▁[", "▁]", "▁cls", "▁UNK"))
    assert tokenizer.encode("ab ac", add_special=False) == [5, 6, UNK]
    assert tokenizer.encode("[CLS]", add_special=False) == [7, 9, 8]
    assert tokenizer.encode("[CLS]", add_special=False, parse_special=True) == [CLS]
    assert load(bert("▁a", add_bos_token=False)).encode("a") == [CLS, 5, SEP]
    with pytest.raises(BadFileError, match="bos_token_id is absent and its default is 101"):
        load(bert("▁a", bos_token_id=None))


def test_decoding() -> None:
    tokenizer = load(bert("▁a", "b", "▁c"))
    decoder = StreamDecoder(tokenizer)
    assert [decoder.push(id) for id in (CLS, 5, 6, 7, SEP)] == ["", "a", "b", " c", ""]
    assert tokenizer.decode([CLS, 5, 6, 7], special=True) == "[CLS] ab c"


@pytest.mark.parametrize("unit", ["a", "us", " ", "日", "\u0301", "."])
def test_linear_time(unit: str) -> None:
    real_tokenizer("bert-bge").encode(unit * (2**18 // len(unit.encode())))
