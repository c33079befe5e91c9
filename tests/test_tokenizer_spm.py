"""The `llama` tokenizer equals its golden files and a slow, plain one, gives back every text, and stays near linear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from vocabularies import BYTES, N_FIXED, golden, real_tokenizer, spm

from llmlocal.gguf.reader import open_gguf
from llmlocal.tokenizer import Tokenizer, load
from llmlocal.tokenizer.spm import merge

SPM_FILES = ("llama-spm", "phi-3")
WORLD = "naïve Ελλάδα привет עברית العربية हिन्दी ไทย 日本語 한국어 👩‍👩‍👧‍👦🇩🇪 𝔘𝔫𝔦 e\u0301\u200b\x00"


@pytest.mark.parametrize("name", SPM_FILES)
def test_golden_texts(name: str) -> None:
    path, pairs = golden(name)
    with open_gguf(path) as file:
        tokenizer = load(file.metadata)
    assert len(pairs) == 46
    for text, ids in pairs:
        assert tokenizer.encode(text, add_special=False) == ids, repr(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def slow_merge(text: str, ids: Mapping[str, int], scores: Sequence[float]) -> list[str]:
    """The meaning of `merge`: look at all pairs again after every step."""
    symbols = list(text)
    while True:
        pairs = [(ids.get(a + b), i) for i, (a, b) in enumerate(pairwise(symbols))]
        best = min(((-scores[id], i) for id, i in pairs if id is not None), default=None)
        if best is None:
            return symbols
        symbols[best[1] : best[1] + 2] = ["".join(symbols[best[1] : best[1] + 2])]


words = st.lists(
    st.text("ab▁é", min_size=1, max_size=5) | st.text("ab", min_size=1, max_size=4), unique=True, max_size=40
)
scores = st.lists(st.floats(-9, 9), min_size=40, max_size=40) | st.lists(st.integers(0, 1), min_size=40, max_size=40)


@settings(max_examples=300, deadline=None)
@given(words, scores, st.text("ab▁é?", max_size=60) | st.text("ab", max_size=30))
@example(["aa", "aaa"], [0.0, 0.0], "aaaaa")
@example(["ab", "abc", "bc"], [0.0, 0.0, 1.0], "abc")
@example(["ab", "abb", "abbb", "bb"], [0.0, 0.0, 0.0, 0.0], "aabbbabb")
def test_merge_equals_the_slow_one(words: list[str], scores: list[float], text: str) -> None:
    ids = {word: id for id, word in enumerate(words)}
    assert merge(text, ids, scores) == slow_merge(text, ids, scores)


@settings(max_examples=200, deadline=None)
@given(words, scores, st.text("ab é?", max_size=60))
def test_encode_equals_the_slow_one(words: list[str], scores: list[float], text: str) -> None:
    values = [0.0] * N_FIXED + [float(score) for score in scores[: len(words)]]
    tokenizer = load(spm(*words, scores=values))
    expected: list[int] = [1]
    ids = {word: id for id, word in enumerate(words, N_FIXED)}
    for symbol in slow_merge("▁" + text.replace(" ", "▁"), ids, values) if text else []:
        expected += [ids[symbol]] if symbol in ids else [3 + byte for byte in symbol.encode()]
    assert tokenizer.encode(text) == expected
    assert max(expected) < tokenizer.n_vocab and len(expected) <= 2 + 3 + len(text.encode()) + 2 * text.count(" ")


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(exclude_characters="▁", exclude_categories=["Cs"]) | st.sampled_from("ab <>/s|"), max_size=80)
)
def test_round_trip_of_text(text: str) -> None:
    for tokenizer in (load(spm("▁", "a", "b", "ab", "▁a")), real_tokenizer("llama-spm"), real_tokenizer("phi-3")):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert all(id not in (0, 2) for id in ids), "a text never becomes a special token"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_round_trip_of_bytes(data: bytes) -> None:
    data = data.replace("▁".encode(), b"")
    tokenizer = real_tokenizer("llama-spm")
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data
    assert tokenizer.encode(data) == tokenizer.encode(data.decode("utf-8", "surrogateescape"))


def test_scripts_of_the_world_and_blanks() -> None:
    tokenizer = real_tokenizer("llama-spm")
    for text in (WORLD, " ", "  ", "\n", " \t\r\n ", "a  b   c    ", " lead", "def f(x):\n\treturn x  # ok\n"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("") == [1]
    assert tokenizer.encode("", add_special=False) == []
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def chat(**over: Any) -> Tokenizer:
    """Two control tokens of which one begins the other, one user-defined token, letters."""
    words = ("<a>", "<a>b", "[U]", "▁", "x", "y", "▁x")
    return load(spm(*words, token_type=[2, 3, 3] + [6] * 256 + [3, 3, 4] + [1] * 4, **over))


def test_special_tokens_are_parsed_on_demand_and_the_longest_first() -> None:
    tokenizer = chat()
    a, ab, u, space, _, y, space_x = range(N_FIXED, N_FIXED + 7)
    encode = tokenizer.encode
    assert encode("<a>x", parse_special=True) == [1, a, space_x]
    assert encode("<a>bx<a></s>y<unk>", parse_special=True) == [1, ab, space_x, a, 2, space, y, 0]
    assert encode("x[U]x") == [1, space_x, u, space_x]
    assert {a, ab, 0, 2}.isdisjoint(encode("<a><a>b</s><unk>"))
    assert tokenizer.decode(encode("<a>b</s>x")) == "<a>b</s>x"
    assert tokenizer.decode([1, a, space_x, 2]) == "x"
    assert tokenizer.decode([1, a, space_x, 2], special=True) == "<s><a> x</s>"


def test_phi3_special_tokens_swallow_the_blanks_after_them() -> None:
    plain = chat()
    user, space, x = range(N_FIXED, N_FIXED + 3)
    metadata = spm("<|user|>", "▁", "x", token_type=[2, 3, 3] + [6] * 256 + [3, 1, 1])
    phi = load({**metadata, "general.name": "Phi-3 mini"})
    assert phi.encode("<|user|> \n x<s> x", parse_special=True) == [1, user, space, x, 1, space, space, x]
    assert plain.encode("<a> x", parse_special=True)[2:] == [plain.vocab.ids["▁"], plain.vocab.ids["▁x"]]


def test_bos_eos_and_space_prefix_follow_the_metadata() -> None:
    assert chat(add_eos_token=True).encode("x") == [1, N_FIXED + 6, 2]
    assert chat(add_bos_token=False).encode("x") == [N_FIXED + 6]
    bare = chat(add_space_prefix=False)
    assert bare.encode("x") == [1, N_FIXED + 4]
    assert bare.decode(bare.encode(" x")) == " x"


def test_text_never_forms_control_unknown_or_byte_tokens() -> None:
    steps = (
        "<",
        "s",
        ">",
        "s>",
        "0",
        "x",
        "A",
        "0x",
        "<0x",
        "<0x4",
        "4",
        "1",
        "1>",
        "/",
        "</",
        "u",
        "n",
        "k",
        "un",
        "unk",
        "unk>",
    )
    ids = load(spm(*steps, add_space_prefix=False)).encode("<s></s><unk><0x41>", add_special=False)
    assert min(ids) >= N_FIXED


def test_unknown_token_where_byte_tokens_are_missing() -> None:
    metadata = spm("▁", "a")
    for key, filler in (("tokens", [f"[{i}]" for i in range(256)]), ("token_type", [1] * 256)):
        metadata["tokenizer.ggml." + key][3:N_FIXED] = filler
    tokenizer = load(metadata)
    assert tokenizer.encode("aé日a") == [1, N_FIXED, N_FIXED + 1, 0, 0, N_FIXED + 1]


def test_pieces_and_ids_outside() -> None:
    tokenizer = load(spm("▁a", "▁u", token_type=[2, 3, 3] + [6] * 256 + [1, 5]))
    pieces = [tokenizer.piece(id) for id in (0, 1, 3 + 0x41, N_FIXED, N_FIXED + 1)]
    assert pieces == [b"<unk>", b"<s>", b"A", b" a", b""]
    assert tokenizer.token_text(3) == BYTES[0]
    for id in (-1, tokenizer.n_vocab):
        for call in (tokenizer.piece, tokenizer.token_text, lambda id: tokenizer.decode([id])):
            with pytest.raises(ValueError, match=f"token id {id} is outside the vocabulary"):
                call(id)


def test_words_are_encoded_apart_only_where_no_token_spans_them() -> None:
    apart, joined = load(spm("▁", "a", "▁a")), load(spm("a▁", "▁", "a", "▁a", "a▁a"))
    assert apart.encode("a a", add_special=False) == [N_FIXED + 2] * 2
    assert joined.encode("a a", add_special=False) == [N_FIXED + 1, N_FIXED + 4]


@pytest.mark.parametrize("unit", [" ", *(pytest.param(unit, marks=pytest.mark.slow) for unit in ("us", "日"))])
def test_a_mebibyte_takes_near_linear_time(unit: str) -> None:
    tokenizer = real_tokenizer("llama-spm")
    text = unit * (2**20 // len(unit.encode()))
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
