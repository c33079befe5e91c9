"""Every pre-tokenizer cuts in linear time, loses nothing, and cuts as it did when it was compared with llama.cpp's."""

from __future__ import annotations

import sys
import unicodedata
from importlib import import_module
from pathlib import Path
from random import Random
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import bpe

from llmlocal.tokenizer import base, load
from llmlocal.tokenizer.pretokenizers import BY_NAME, SCHEMES
from llmlocal.tokenizer.splitter import Splitter, ascii_thousands, blanks_by_powers_of_two, thousands
from llmlocal.tokenizer.unicode_classes import BLANKS, UNASSIGNED, classes, lower

sys.path.append(str(Path(__file__).parents[1] / "tools"))
random_text = import_module("tokenizer_texts").random_text
TEXTS = [random_text(Random(f"pre {number}")) for number in range(200)]
SPLITTERS = {names: Splitter(scheme.stages) for names, scheme in SCHEMES.items()}
UNITS = (
    "a",
    "us",
    " ",
    "\n",
    "1",
    "'",
    "日",
    "👍",
    "\u0301",
    " a",
    "a b ",
    "\r\n",
    "1a",
    "aA",
    "!",
    "\u0378",
    "A1",
    "٣",
)

# fmt: off
DIGESTS = {
    "default": 0x113f54e8, "gpt-2": 0x146814f5, "jina-v1-en": 0x146814f5, "starcoder": 0x4fbd95a5,
    "llama3": 0xa2f9bbee, "dbrx": 0xa2f9bbee, "glm4": 0xa2f9bbee, "jais-2": 0xc79c365a, "qwen2": 0x49f95d08,
    "qwen35": 0xd183d4ca, "deepseek-llm": 0x2cd8e159, "deepseek-coder": 0xd4b07e0e, "deepseek-v3": 0x7f316e71,
    "spark2_5": 0x679fe1b4, "youtu": 0x0dc17738, "falcon": 0xcddbc9f2, "poro-chat": 0xe649ae27, "viking": 0xbb46ecf5,
    "tekken": 0x506038ef, "chameleon": 0x441ac384, "gpt-4o": 0x984587ca, "granite-embed-multi-97m": 0xae682bd3,
    "tiny_aya": 0x4356592a, "kimi-k2": 0x299d0409, "superbpe": 0xda931cb3, "bailingmoe": 0x49f95d08,
    "seed-coder": 0x3dce60b1, "ufakzeka": 0x17457fba, "minicpm5": 0xd05f1b11, "afmoe": 0x5c372bc5,
    "laguna": 0x9c4d82a6, "exaone-moe": 0xa68a5a15, "whitespace": 0x463b81e1, "sarvam-moe": 0x108a826e,
    "gemma4": 0x108a826e,
}
# fmt: on


@pytest.mark.parametrize("names", SCHEMES)
def test_cuts_as_when_it_was_compared(names: str) -> None:
    assert digest(names) == DIGESTS[names.split()[0]], "compare again: tools/compare_tokenizers.py --pre all"


def digest(names: str) -> int:
    return crc32("\0".join("\1".join(SPLITTERS[names].split(text)) for text in TEXTS).encode())


@pytest.mark.parametrize("names", SCHEMES)
def test_linear_time(names: str) -> None:
    """Quadratic time would be minutes: the suite's limit for one test ends it."""
    for unit in UNITS:
        text = unit * (2**17 // len(unit.encode()))
        words = SPLITTERS[names].split(text)
        assert "".join(words) == text


@given(text=st.text(), names=st.sampled_from(sorted(SCHEMES)))
@settings(max_examples=300, deadline=None)
def test_words_are_the_text(text: str, names: str) -> None:
    words = SPLITTERS[names].split(text)
    assert "".join(words) == text and "" not in words


def test_names() -> None:
    assert len(BY_NAME) == 91 == sum(len(names.split()) for names in SCHEMES)
    assert BY_NAME["qwen2"] is BY_NAME["deepseek-r1-qwen"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gpt-2", "It's  a 12345 test!\n\n x", "It|'s| | a| 12345| test|!|\n\n| x"),
        ("llama-bpe", "IT'S  a 12345 test!\n\n x", "IT|'S| | a| |123|45| test|!\n\n| x"),
        ("qwen2", "IT'S 123é日", "IT|'S| |1|2|3|é日"),
        ("deepseek-llm", "a 12日本 \n", "a| |12|日本| |\n"),
        ("deepseek-v3", "a=b 1234日本あx\n", "a|=b| |123|4|日本あ|x|\n"),
        ("gpt-4o", "CamelCase's ÄÖü/a//\n", "Camel|Case's| ÄÖü|/a|//\n"),
        ("tekken", "CamelCase 12", "Camel|Case| |1|2"),
        ("falcon", "a$b 12345", "a|$|b| |123|45"),
        ("kimi-k2", "x日本's日a", "x|日本|'s|日|a"),
        ("superbpe", "ab1234567", "ab|1|234|567"),
        ("afmoe", "1234567日ab", "1|234|567|日|ab"),
        ("chameleon", "<sentinel:12>a\tb  ", "<|sentinel|:|1|2|>|a|\t|b|  "),
        ("bloom", "a, (b).\u3000c", "a|, (|b|).\u3000|c"),
        ("gemma4", "a b\n\nc", "a b|\n\n|c"),
    ],
)
def test_by_example(name: str, text: str, words: str) -> None:
    assert "|".join(Splitter(BY_NAME[name].stages).split(text)) == words


def test_numbers_in_threes() -> None:
    assert thousands("ab1234567c") == ["ab1", "234", "567", "c"]
    assert thousands("ab123") == ["ab123"]
    assert thousands("١٢٣٤") == ["١", "٢٣٤"]
    assert ascii_thousands("1234567x") == ["1", "234", "567x"]


def test_blanks_by_powers_of_two() -> None:
    lengths = [len(word) for word in blanks_by_powers_of_two(" " * 1543)]
    assert lengths == [512, 512, 512, 4, 2, 1]
    assert blanks_by_powers_of_two("   \n") == ["   \n"]
    assert blanks_by_powers_of_two("  a") == ["  a"]


def test_classes_agree_with_python_where_both_know_the_character() -> None:
    known = [chr(code) for code, kind in enumerate(classes()) if kind != UNASSIGNED]
    differ = [char for char in known if unicodedata.category(char)[0] not in (classes()[ord(char)], "C")]
    assert len(classes()) == sys.maxunicode + 1
    assert len(differ) < 10  # a later Unicode may correct some
    assert {char for char in known if char.isspace()} - set("\x1c\x1d\x1e\x1f") == set(BLANKS)


def test_lower() -> None:
    assert [lower(char) for char in "AÉİΣ1日\u0378"] == [*"aéiσ1日\u0378"]


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_text_in_pieces_has_the_same_tokens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are cut between words wherever that is allowed; here at every chance."""
    monkeypatch.setattr(base, "PIECE", 8)
    tokenizer = load(bpe("a b", "Ġ a", "b a", "▁ a", pre=name))
    rng = Random(name)
    for _ in range(60):
        text = "".join(rng.choices(("a b", " ab", "ba ", "a", " ", "\n", "1234", "é", "日", "'s", "!", " <s>a"), k=40))
        pieces = [text.encode()[at : at + 5] for at in range(0, len(text.encode()), 5)]
        ids = [id for part in tokenizer.encode_pieces(pieces, parse_special=True) for id in part]
        assert ids == tokenizer.encode(text, parse_special=True), repr(text)
