"""Ends of strings that are found all at once are those that a walk from one to the next finds."""

from __future__ import annotations

from array import array
from itertools import accumulate

from gguf_bytes import string
from hypothesis import given
from hypothesis import strategies as st

from llmlocal.gguf.short_strings import joined, short_string_ends

SOME = st.binary(min_size=1, max_size=40).filter(lambda text: b"\0" not in text)
ANY = st.lists(st.one_of(SOME, st.binary(max_size=12), st.sampled_from([b"", b"\0" * 8, b"a" * 300])), min_size=1)


@given(ANY, st.binary(max_size=30))
def test_what_is_found_is_right(texts: list[bytes], rest: bytes) -> None:
    found = short_string_ends(memoryview(b"".join(map(string, texts)) + rest), len(texts))
    assert found is None or list(found) == list(accumulate(8 + len(text) for text in texts))


@given(st.lists(SOME, min_size=1, max_size=300), st.sampled_from([b"", b"\x05\0\0\0\0\0\0\0name"]))
def test_ordinary_tokens_are_found(texts: list[bytes], rest: bytes) -> None:
    found = short_string_ends(memoryview(b"".join(map(string, texts)) + rest), len(texts))
    assert found is not None and list(found) == list(accumulate(8 + len(text) for text in texts))


@given(ANY)
def test_strings_are_joined(texts: list[bytes]) -> None:
    ends = array("Q", accumulate(8 + len(text) for text in texts))
    assert joined(memoryview(b"".join(map(string, texts))), ends) == b"\0".join(texts)


@given(st.lists(SOME, min_size=1, max_size=20), st.integers(1, 30))
def test_a_file_that_ends_within_them_is_noticed(texts: list[bytes], cut: int) -> None:
    data = b"".join(map(string, texts))
    assert short_string_ends(memoryview(data[: max(len(data) - cut, 0)]), len(texts)) is None
