"""Byte pair encoding equals its golden files and a slow, plain one, gives back every text, and stays near linear."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import BYTES, bpe, golden, keys, real, real_tokenizer

from llmlocal.errors import BadFileError
from llmlocal.tokenizer import load
from llmlocal.tokenizer.merges import RankedMerges
from llmlocal.tokenizer.pretokenizers import BY_NAME

FILES = ("gpt-2", "llama-bpe", "qwen2", "deepseek-llm")
BYTE_COMPLETE = ("gpt-2", "llama-bpe", "qwen2")


@pytest.mark.parametrize("name", FILES)
def test_golden_texts(name: str) -> None:
    _, pairs = golden(name)
    tokenizer = real_tokenizer(name)
    assert len(pairs) == 46
    for text, ids in pairs:
        assert tokenizer.encode(text, add_special=False) == ids, repr(text)
        assert tokenizer.decode(ids) == text


@given(text=st.text(), name=st.sampled_from(BYTE_COMPLETE))
@settings(max_examples=150, deadline=None)
def test_every_text_comes_back(text: str, name: str) -> None:
    tokenizer = real_tokenizer(name)
    assert tokenizer.decode(tokenizer.encode(text, add_special=False)) == text


@given(data=st.binary(), name=st.sampled_from(BYTE_COMPLETE))
@settings(max_examples=100, deadline=None)
def test_every_byte_comes_back(data: bytes, name: str) -> None:
    tokenizer = real_tokenizer(name)
    assert tokenizer.decode_bytes(tokenizer.encode(data, add_special=False)) == data


def slow_spell(word: str, ranks: Mapping[str, int]) -> list[str]:
    """The meaning of `spell`: look at all pairs again after every merge."""
    symbols = list(word)
    while True:
        pairs = [(ranks.get(f"{a} {b}"), i) for i, (a, b) in enumerate(pairwise(symbols))]
        best = min(((rank, i) for rank, i in pairs if rank is not None), default=None)
        if best is None:
            return symbols
        symbols[best[1] : best[1] + 2] = ["".join(symbols[best[1] : best[1] + 2])]


@given(seed=st.integers(0, 2**32), words=st.lists(st.text("abc日", max_size=40), max_size=5))
@settings(max_examples=300, deadline=None)
def test_spelling_equals_the_slow_one(seed: int, words: list[str]) -> None:
    rng = random.Random(seed)
    symbols, merges = list("abc日"), []
    for _ in range(rng.randint(1, 15)):
        left, right = rng.choice(symbols), rng.choice(symbols)
        merges.append(f"{left} {right}")
        symbols.append(left + right)
    rng.shuffle(merges)  # so that a merge may wait for one of a higher rank
    ranks = {merge: rank for rank, merge in enumerate(dict.fromkeys(merges))}
    tokens = [text for text in dict.fromkeys(symbols) if rng.random() < 0.8]  # results need not be tokens
    table = RankedMerges(tokens, {text: id for id, text in enumerate(tokens)}, ranks)
    for word in words:
        assert [table.text(symbol) for symbol in table.spell(word)] == slow_spell(word, ranks)


def test_the_first_of_equal_merges_counts() -> None:
    tokenizer = load(bpe("b c", "a b", "b c"))
    assert [tokenizer.token_text(id) for id in tokenizer.encode("abc")] == ["a", "bc"]


def test_whole_words_of_the_vocabulary_need_no_merges() -> None:
    metadata = bpe("a b", more=("abab",))
    assert len(load(metadata).encode("abab")) == 2
    tokenizer = load({**metadata, "tokenizer.ggml.pre": "llama-bpe"})
    assert tokenizer.encode("abab") == [tokenizer.bos_id, tokenizer.vocab.ids["abab"]]


def test_bos_by_default_is_the_pretokenizers() -> None:
    for name, scheme in BY_NAME.items():
        assert load(bpe(pre=name)).vocab.add_bos == scheme.add_bos
    assert load(bpe(pre="llama-bpe", bos_token_id=None)).vocab.add_bos is False
    assert load(bpe(pre="llama-bpe", add_bos_token=False)).vocab.add_bos is False
    with pytest.raises(BadFileError, match="add_bos_token is true but there is no"):
        load(bpe(bos_token_id=None, add_bos_token=True))


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"pre": "gpt-99\n"}, r"pre is 'gpt-99\\n', an unsupported pre-tokenizer"),
        ({"pre": 7}, "pre is '7', an unsupported pre-tokenizer"),
        ({"merges": None}, "merges is missing"),
        ({"merges": ["a b", "abc"]}, r"merges\[1\] is 'abc', expected two texts separated by one space"),
        ({"merges": ["a b c"]}, r"merges\[0\] is 'a b c'"),
        ({"merges": [1, 2]}, "merges must hold strings, not int"),
        ({"merges": "a b"}, "merges is 'a b', not an array"),
    ],
)
def test_refused_in_one_line(over: dict[str, Any], message: str) -> None:
    with pytest.raises(BadFileError, match=message) as caught:
        load(bpe(**over))
    assert "\n" not in str(caught.value)


def test_a_missing_pretokenizer_is_noted() -> None:
    assert load(bpe()).notes == []
    tokenizer = load(bpe(pre=None))
    assert "names no pre-tokenizer" in tokenizer.notes[0]
    assert load(bpe(pre="kimi-k2", merges=None)).encode("ab") == load(bpe()).encode("ab")


def test_text_never_forms_control_tokens() -> None:
    metadata = bpe("< s", "<s >", more=("<s>",))
    tokens = metadata["tokenizer.ggml.tokens"]
    tokens.pop()  # the one in the middle is the only <s> now
    metadata["tokenizer.ggml.token_type"] = [3 if text == "<s>" else 1 for text in tokens]
    for key in ("bos_token_id", "eos_token_id"):
        metadata["tokenizer.ggml." + key] = tokens.index("<s>")
    tokenizer = load({**metadata, "tokenizer.ggml.pre": "poro-chat"})  # which leaves <s> in one word
    assert tokenizer.bos_id not in tokenizer.encode("<s>", add_special=False)
    assert tokenizer.decode(tokenizer.encode("<s>", add_special=False)) == "<s>"


def test_what_the_vocabulary_lacks_is_unknown() -> None:
    metadata = keys({"model": "gpt2", "pre": "gpt-2", "tokens": ["<unk>", "a", "b"], "merges": ["a b"]})
    assert load(metadata).encode("abc日") == [1, 2]  # "ab" is not a token, and nothing stands for what is unknown
    said = "the vocabulary has no token for bytes 0x63, 0x97, 0xa5, 0xe6: left out of the text"
    assert load(metadata).notes_on("abc日") == [said] == load(metadata).lost_in({*"abc日".encode()})
    assert load(metadata).notes_on("ab") == [] == load(bpe()).notes_on("abc日\x00\ud800")
    (one,), (two,) = (load(bpe()).notes_on(text.decode("utf-8", "surrogateescape")) for text in (b"a\xe9", b"\xff\xfe"))
    assert one.startswith("the text is not all UTF-8: 1 byte given") and "2 bytes given" in two
    assert load({**metadata, "tokenizer.ggml.unknown_token_id": 0}).encode("abcé") == [1, 2]  # as in llama.cpp


def gemma(*tokens: str, merges: list[str], **over: Any) -> dict[str, Any]:
    names = ["<pad>", "<eos>", "<bos>", "<unk>", *BYTES, *tokens]
    types = [3, 3, 3, 2] + [6] * 256 + [1] * len(tokens)
    ids = {"bos_token_id": 2, "eos_token_id": 1, "unknown_token_id": 3}
    return keys({"model": "gemma4", "tokens": names, "token_type": types, "merges": merges, **ids, **over})


@pytest.mark.parametrize("merges", [["a b", "▁ ab", "\n \n"], ["a b", "▁ ab", "b ▁"]])
def test_gemma4(merges: list[str]) -> None:
    """With and without a merge that reaches over the start of a word."""
    tokenizer = load(gemma("▁", "a", "b", "ab", "▁ab", "b▁", "\n", "\n\n", merges=merges, add_bos_token=False))
    texts = [tokenizer.token_text(id) for id in tokenizer.encode("ab aab\n\nbé b a\n")]
    assert texts[0] == "<bos>"  # added whatever the file says
    end = ["b▁", "a"] if "b ▁" in merges else ["b", "▁", "a"]
    assert texts[1:] == ["ab", "▁", "a", "ab", "\n\n", "b", "<0xC3>", "<0xA9>", "▁", *end, "\n"]
    assert tokenizer.decode(tokenizer.encode("ab aab\n\nbé b a\n日")) == "ab aab\n\nbé b a\n日"
    assert min(tokenizer.encode("<bos><0x41>", add_special=False)) > 3


def test_whitespace_vocabularies_drop_blanks() -> None:
    tokens = ["a", "b", "ab", "<unk>"]
    metadata = keys(
        {"model": "whitespace", "pre": "whitespace", "tokens": tokens, "merges": ["a b"], "unknown_token_id": 3}
    )
    assert load(metadata).encode(" ab\u3000\nA\tb") == [2, 3, 1]
    assert load({**metadata, "tokenizer.ggml.normalizer.lowercase": True}).encode("AB A") == [2, 0]


@pytest.mark.parametrize("unit", ["a", *(pytest.param(unit, marks=pytest.mark.slow) for unit in ("us", "日"))])
def test_a_mebibyte_takes_near_linear_time(unit: str) -> None:
    tokenizer = real_tokenizer("qwen2")
    text = unit * (2**20 // len(unit.encode()))
    ids = tokenizer.encode(text, add_special=False)
    assert tokenizer.decode(ids) == text


def test_151936_tokens_are_ready_without_numpy() -> None:
    path = real("vocab/ggml-vocab-qwen2.gguf")
    program = (
        "import sys; from llmlocal.gguf.reader import open_gguf; from llmlocal.tokenizer import load\n"
        f"with open_gguf({str(path)!r}) as file: load(file.metadata).encode('ready')\n"
        "print(sorted({'numpy', 'numba', 'gguf'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
