"""Streamed output equals the output in one piece, and never ends inside a character."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import N_FIXED, spm

from llmlocal.tokenizer import StreamDecoder, load

BYTE_0 = 3
TOKENIZER = load(spm("▁", "▁a", "é", "日本", "▁▁", token_type=[2, 3, 3] + [6] * 256 + [1] * 5))
SPACE, SPACE_A, E_ACUTE, JAPAN, SPACES = range(N_FIXED, N_FIXED + 5)

pieces = st.binary(max_size=9) | st.text(max_size=4).map(str.encode)
any_ids = st.lists(st.integers(0, TOKENIZER.n_vocab - 1), max_size=40)


def data_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def byte_ids(data: bytes) -> list[int]:
    return [BYTE_0 + byte for byte in data]


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=12))
def test_bytes_and_text_do_not_depend_on_the_chunks(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    exact, text = StreamDecoder(TOKENIZER), StreamDecoder(TOKENIZER, errors="replace")
    shown_exact, shown_text = "", ""
    for chunk in chunks:
        for id in byte_ids(chunk):
            shown_exact += exact.push(id)
            shown_text += text.push(id)
    assert data_of(shown_exact + exact.flush()) == whole
    assert shown_text + text.flush() == whole.decode("utf-8", "replace")


@settings(max_examples=200, deadline=None)
@given(any_ids, st.booleans())
def test_stream_equals_decode(ids: list[int], special: bool) -> None:
    exact = StreamDecoder(TOKENIZER, special=special)
    text = StreamDecoder(TOKENIZER, special=special, errors="replace")
    assert data_of("".join(map(exact.push, ids)) + exact.flush()) == TOKENIZER.decode_bytes(ids, special=special)
    assert "".join(map(text.push, ids)) + text.flush() == TOKENIZER.decode(ids, special=special)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20))
def test_valid_text_is_shown_at_once_and_never_in_halves(text: str) -> None:
    data, decoder = text.encode(), StreamDecoder(TOKENIZER, continues=True)
    shown = b""
    for i, id in enumerate(byte_ids(data), start=1):
        shown += data_of(decoder.push(id))
        assert shown == data[:i].decode("utf-8", "ignore").encode()
        assert i - len(shown) <= 3


def test_invalid_bytes_pass_and_show_as_replacement() -> None:
    data = b"a\xff\xe6\x97b\xf0\x9f"
    exact, text = StreamDecoder(TOKENIZER), StreamDecoder(TOKENIZER, errors="replace")
    parts = [data_of(exact.push(id)) for id in byte_ids(data)]
    assert parts == [b"a", b"\xff", b"", b"", b"\xe6\x97b", b"", b""]
    assert data_of(exact.flush()) == b"\xf0\x9f"
    assert "".join(map(text.push, byte_ids(data))) + text.flush() == "a\ufffd\ufffdb\ufffd"
    assert exact.flush() == text.flush() == ""


def test_first_space_is_dropped_unless_the_text_continues() -> None:
    fresh, continued = StreamDecoder(TOKENIZER), StreamDecoder(TOKENIZER, continues=True)
    assert [fresh.push(id) for id in (1, SPACE_A, SPACE_A, 2)] == ["", "a", " a", ""]
    assert [continued.push(id) for id in (SPACE_A, SPACE_A)] == [" a", " a"]
    alone = StreamDecoder(TOKENIZER)
    assert [alone.push(id) for id in (SPACE, SPACES, E_ACUTE, JAPAN)] == ["", "  ", "é", "日本"]


def test_special_tokens_are_hidden_but_on_demand() -> None:
    shown = StreamDecoder(TOKENIZER, special=True)
    assert [shown.push(id) for id in (1, SPACE_A, 2)] == ["<s>", " a", "</s>"]
