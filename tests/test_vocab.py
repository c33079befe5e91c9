"""A vocabulary that contradicts itself is refused in one line; a sound one says what ends an answer."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from vocabularies import N_FIXED, spm

from llmlocal.errors import BadFileError
from llmlocal.tokenizer import load
from llmlocal.tokenizer.vocab import CONTROL, NORMAL, USER_DEFINED

N = N_FIXED + 2
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no tokens": ({"tokens": None}, "tokens is missing or empty"),
    "tokens empty": ({"tokens": []}, "tokens is missing or empty"),
    "tokens no array": ({"tokens": 7}, "tokens is 7, not an array"),
    "tokens numbers": ({"tokens": [1, 2]}, "tokens must hold strings, not int"),
    "token twice": ({"tokens": ["<unk>", "<s>", "</s>", "x", "x"], "scores": None, "token_type": None}, "'x' twice"),
    "no scores": ({"scores": None}, "scores is missing"),
    "scores u8": ({"scores": [0] * N}, "scores must hold floats, not int"),
    "scores short": ({"scores": [0.0] * 3}, f"scores has 3 entries for {N} tokens"),
    "score NaN": ({"scores": [0.0] * (N - 1) + [float("nan")]}, rf"scores\[{N - 1}\] is nan"),
    "types short": ({"token_type": [1] * 3}, f"token_type has 3 entries for {N} tokens"),
    "types floats": ({"token_type": [1.0] * N}, "token_type must hold integers, not float"),
    "types bools": ({"token_type": [True] * N}, "token_type must hold integers, not bool"),
    "type 9": ({"token_type": [9] * N}, r"token_type\[0\] is 9"),
    "type negative": ({"token_type": [1] * (N - 1) + [-1]}, rf"token_type\[{N - 1}\] is -1"),
    "byte type, no byte": ({"token_type": [2, 3, 3] + [6] * (N - 3)}, r"type byte, but its text is '▁a', not <0x00>"),
    "eot outside, sep needed": ({"seperator_token_id": N, "add_sep_token": True}, "there is no .*seperator_token_id"),
    "pad float": ({"padding_token_id": 1.0}, r"padding_token_id is 1\.0, not a token id"),
    "default outside": ({"tokens": ["a"], "scores": [0.0], "token_type": [1]}, "bos_token_id is absent.*default is 1"),
    "flag number": ({"add_bos_token": 1}, "add_bos_token is 1, not true or false"),
    "sep without id": ({"add_sep_token": True}, "add_sep_token is true but there is no .*seperator_token_id"),
    "unknown kind": ({"model": "gpt-99\x1b[2J"}, r"model is 'gpt-99\\x1b\[2J', which is not supported; supp.*llama"),
    "no kind": ({"model": None}, "has no tokenizer"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_in_one_line(case: str) -> None:
    over, message = BAD[case]
    with pytest.raises(BadFileError, match=message) as caught:
        load(spm("▁a", "a", **over))
    assert re.fullmatch(r"[^\x00-\x1f]*", str(caught.value))


@pytest.mark.parametrize("text", ["<0x-1>", "<0xAG>", "<0xab>", "<0x1>", "0x10", "<0x10>\n"])
def test_byte_tokens_are_two_capital_hex_digits(text: str) -> None:
    metadata = spm("a")
    metadata["tokenizer.ggml.tokens"][5] = text
    with pytest.raises(BadFileError, match=r"tokens\[5\] has type byte, but its text is"):
        load(metadata)


@pytest.mark.parametrize(
    ("key", "id", "name", "used"),
    [
        ("padding_token_id", 2**32 - 1, "pad", None),
        ("bos_token_id", N, "bos", 1),
        ("eos_token_id", -1, "eos", 2),
        ("unknown_token_id", 10**6, "unk", 0),
        ("eot_token_id", N, "eot", None),
        ("prefix_token_id", N, "fim_pre", None),
    ],
)
def test_special_ids_outside_the_vocabulary(key: str, id: int, name: str, used: int | None) -> None:
    """A warning, and the default where there is one, as in llama.cpp."""
    tokenizer = load(spm("▁a", "a", **{key: id}))
    said = "it is ignored" if used is None else f"the default, {used}, is used"
    assert tokenizer.notes == [f"tokenizer.ggml.{key} is {id}, outside the vocabulary of {N} tokens: {said}"]
    assert tokenizer.vocab.special.get(name) == used
    assert tokenizer.encode("a") == [1, N - 2]


def test_special_ids_flags_and_defaults() -> None:
    plain = load(spm("a")).vocab
    assert plain.special == {"bos": 1, "eos": 2, "unk": 0}
    assert (plain.add_bos, plain.add_eos, plain.add_space_prefix) == (True, False, True)
    told = load(spm("a", "b", bos_token_id=259, add_bos_token=False, add_eos_token=True, prefix_token_id=260)).vocab
    assert (told.special["bos"], told.special["fim_pre"], told.prefix_and_suffix()) == (259, 260, ([], [2]))


@pytest.mark.parametrize(
    ("words", "over", "stops"),
    [
        (["<|im_end|>", "<|eot_id|>", "x"], {}, ["</s>", "<|im_end|>", "<|eot_id|>"]),
        (["x", "y"], {"eot_token_id": 259, "eom_token_id": 260}, ["</s>", "x", "y"]),
        (["<bos>", "<eos>"], {"bos_token_id": 259, "eos_token_id": 260}, ["<eos>"]),  # there </s> is HTML
        (["<|end|>", "<|endoftext|>"], {}, ["</s>", "<|end|>", "<|endoftext|>"]),
        (["<|end|>", "<|return|>", "<|call|>"], {}, ["</s>", "<|return|>", "<|call|>"]),
    ],
)
def test_what_ends_an_answer(words: list[str], over: dict[str, int], stops: list[str]) -> None:
    tokenizer = load(spm(*words, **over))
    assert sorted(map(tokenizer.token_text, tokenizer.stop_ids)) == sorted(stops)


def test_stop_texts_are_control_tokens_whatever_the_file_says() -> None:
    types = load(spm("<|im_end|>", "<|user|>", token_type=[2, 3, 3] + [6] * 256 + [1, 4])).vocab.types
    assert (types[N_FIXED], types[N_FIXED + 1], types[1]) == (CONTROL, USER_DEFINED, CONTROL)
    assert load(spm("a", token_type=None)).vocab.types[N_FIXED] == NORMAL


def test_tokens_need_not_be_utf8() -> None:
    class Stored(list[str]):
        def strings_as_bytes(self) -> list[bytes]:
            return [text.encode() for text in self[:-2]] + [b"\xe4", b"\xe5"]

        def tolist(self, errors: str) -> list[str]:
            return [text.decode("utf-8", errors) for text in self.strings_as_bytes()]

    metadata = spm("?", "?")
    metadata["tokenizer.ggml.tokens"] = Stored(metadata["tokenizer.ggml.tokens"])
    tokenizer = load(metadata)
    assert [tokenizer.piece(id) for id in (N_FIXED, N_FIXED + 1)] == [b"\xe4", b"\xe5"]


def test_large_vocabulary_is_ready_without_numpy() -> None:
    metadata = spm(*(f"▁{id:x}" for id in range(262_144)))
    assert load(metadata).encode("7f7f")
    program = "import sys, llmlocal.tokenizer; print(sorted({'numpy', 'numba', 'gguf'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
