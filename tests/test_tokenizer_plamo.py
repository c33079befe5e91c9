"""PLaMo's tokenizer finds the best sum of scores, and gives back every byte."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import BYTES, keys

from llmlocal.tokenizer import load

N_FIXED = 260


def plamo(words: dict[str, float]) -> dict[str, Any]:
    tokens = ["<unk>", "<s>", "</s>", "<pad>", *BYTES, *words]
    types = [2, 3, 3, 3] + [6] * 256 + [1] * len(words)
    return keys(
        {"model": "plamo2", "tokens": tokens, "token_type": types, "scores": [0.0] * N_FIXED + [*words.values()]}
    )


def test_the_best_sum_and_of_equal_ones_the_longest_first() -> None:
    tokenizer = load(plamo({"a": -1.0, "b": -1.0, "ab": -2.5, "ba": -2.0, "<s>x": 0.0}))
    assert tokenizer.encode("ab") == [N_FIXED, N_FIXED + 1]
    assert tokenizer.encode("bab") == [N_FIXED + 3, N_FIXED + 1]
    assert tokenizer.encode("\ufeffa\x80") == [N_FIXED, 4 + 0xC2, 4 + 0x80]
    assert 1 not in tokenizer.encode("<s>")


@given(data=st.binary(), words=st.dictionaries(st.text("ab日", min_size=1, max_size=3), st.floats(-99, 0, width=32)))
@settings(max_examples=100, deadline=None)
def test_every_byte_comes_back(data: bytes, words: dict[str, float]) -> None:
    tokenizer = load(plamo(words))
    data = data.removeprefix("\ufeff".encode())
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data
