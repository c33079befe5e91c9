"""RWKV's tokenizer takes the longest token that the bytes go on with; its vocabulary is spelled with escapes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import keys

from llmlocal.tokenizer import load
from llmlocal.tokenizer.rwkv import unescaped


def rwkv(*words: str, **over: Any) -> dict[str, Any]:
    tokens = ["<s>", *(f"\\x{byte:02x}" for byte in range(256)), *words]
    types = [3] + [1] * (len(tokens) - 1)
    return keys({"model": "rwkv", "tokens": tokens, "token_type": types, **over})


def test_escapes() -> None:
    assert unescaped(r"\t\n\r\\\x00\xffa\q\'") == b"\t\n\r\\\x00\xffaq'"
    assert unescaped("日\\") == "日\\".encode()


def test_longest_first() -> None:
    tokenizer = load(rwkv("ab", "abc", r"日\n", r"\xe6\x97"))
    texts = [tokenizer.piece(id) for id in tokenizer.encode("ababcabd日\n日\x00")]
    assert texts == [b"ab", b"abc", b"ab", b"d", "日\n".encode(), b"\xe6\x97", b"\xa5", b"\0"]
    assert tokenizer.encode("<s>", add_special=False)[0] != 0
    assert tokenizer.encode("<s>", parse_special=True) == [0]


@given(data=st.binary(), words=st.lists(st.text("abé\\", min_size=2, max_size=4), unique=True))
@settings(max_examples=200, deadline=None)
def test_every_byte_comes_back(data: bytes, words: list[str]) -> None:
    tokenizer = load(rwkv(*(word.replace("\\", "\\\\") for word in words)))
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


def test_bytes_that_are_no_token() -> None:
    metadata = keys({"model": "rwkv", "tokens": ["<unk>", "a", "bc"]})
    assert load(metadata).encode("abxbc") == [1, 2]
    assert load({**metadata, "tokenizer.ggml.unknown_token_id": 0}).encode("abxbc") == [1, 0, 0, 2]


@pytest.mark.parametrize("unit", ["a", "us", " ", "日"])
def test_linear_time(unit: str) -> None:
    tokenizer = load(rwkv("aa", "aaaa", "us", "    ", "日本"))
    tokenizer.encode(unit * (2**18 // len(unit.encode())))
