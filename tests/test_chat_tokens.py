"""Only a template's own text makes special tokens, and the rest is tokenized as if it were one text."""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from vocabularies import real, spm

from llmlocal import tokenizer
from llmlocal.chat_format import templates
from llmlocal.chat_format.chat_template import HOLE, ChatTemplate, Rendered, Segment, special_tokens
from llmlocal.gguf import open_gguf
from llmlocal.tokenizer import Tokenizer
from llmlocal.tokenizer.vocab import CONTROL, UNKNOWN

GOLDEN = Path(__file__).parent / "golden" / "chat_templates.json.xz"
TEXTS = 10_000
SEED = 0
# A real vocabulary with the template of its own model, or a built-in one.
PAIRS = {
    "llama-spm": "mistral",
    "phi-3": "microsoft-Phi-3.5-mini-instruct",
    "llama-bpe": "meta-llama-Llama-3.1-8B-Instruct",
    "qwen2": "Qwen-Qwen2.5-7B-Instruct",
    "deepseek-llm": "vicuna",
    "gpt-2": "zephyr",
}
ROUND_TRIP = ("llama-bpe", "qwen2", "deepseek-llm", "gpt-2")  # the others add blanks or swallow them
ROLES = ("system", "user", "assistant", "user", "assistant", "user")
WORDS = (
    " ",
    "\n",
    "  ",
    "a",
    "Hello",
    " world",
    "<",
    "|",
    ">",
    "</",
    "[INST]",
    "é",
    "日本",
    "🤖",
    HOLE,
    "{{ x }}",
    "\0",
)


@cache
def vocabulary(name: str) -> Tokenizer:
    with open_gguf(real(f"vocab/ggml-vocab-{name}.gguf")) as file:
        return tokenizer.load(file.metadata)


@cache
def template(name: str) -> ChatTemplate:
    wanted = PAIRS[name]
    if wanted in templates.names():
        source = templates.source(wanted)
    else:
        source = json.loads(lzma.decompress(GOLDEN.read_bytes()))["models"][wanted]["template"]
    return ChatTemplate(source, special_tokens(vocabulary(name)))


def conversation(texts: list[str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in zip(ROLES, texts, strict=True)]


def controls(model: Tokenizer) -> frozenset[int]:
    return frozenset(model.vocab.of_type(CONTROL, UNKNOWN))


def hostile(model: Tokenizer, generator: random.Random) -> Iterator[str]:
    """Texts of the names of special tokens, their halves, blanks and words."""
    names = [model.vocab.tokens[id] for id in controls(model)] + ["<|im_start|>", "<s>", "<|eot_id|>", "<|user|>"]
    while True:
        pieces = []
        for _ in range(generator.randint(1, 8)):
            name = generator.choice(names)
            cut = generator.randint(0, len(name))
            pieces.append(generator.choice((name, name, name[:cut], name[cut:], generator.choice(WORDS))))
        yield "".join(pieces)


@pytest.mark.parametrize("name", PAIRS)
def test_hostile_texts_make_no_special_tokens(name: str) -> None:
    model, special = vocabulary(name), controls(vocabulary(name))
    plain = template(name).render(conversation(["word"] * len(ROLES))).encode(model)
    scaffolding = [id for id in plain if id in special]
    assert scaffolding
    texts = hostile(model, random.Random(SEED))
    for _ in range(TEXTS // len(PAIRS) // len(ROLES) + 1):
        messages = conversation([next(texts) for _ in ROLES])
        rendered = template(name).render(messages)
        ids = rendered.encode(model)
        assert [id for id in ids if id in special] == scaffolding, messages
        if name in ROUND_TRIP:
            text = model.decode(ids, special=True)
            bos = "" if model.bos_id is None else model.token_text(model.bos_id)
            assert text in (rendered.text, bos + rendered.text)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    "text", ["Hello", " Hello  ", "\n\nx\n", "  ", "1234567", "'s <b> naïve 日本 🤖", "{}\t[INST]"]
)
def test_harmless_texts_are_tokenized_as_one(name: str, text: str) -> None:
    model = vocabulary(name)
    rendered = template(name).render(conversation([text] * len(ROLES)))
    whole = model.encode(rendered.text, add_special=False, parse_special=True)
    bos = model.vocab.prefix_and_suffix()[0]
    assert rendered.encode(model) == (whole if whole[: len(bos)] == bos else bos + whole)


def rendered(*parts: tuple[str, bool]) -> Rendered:
    return Rendered(tuple(Segment(*part) for part in parts))


def test_bos_stands_once() -> None:
    model = tokenizer.load(spm("▁a", add_bos_token=True))
    a = model.encode("a", add_special=False)
    for start in ("", "<s>", "<s><s>"):
        assert rendered((start + "a", False)).encode(model) == [1, *a]
    without = tokenizer.load(spm("▁a", add_bos_token=False, add_eos_token=True))
    assert rendered(("a", False)).encode(without) == a
    assert rendered(("<s>a", False)).encode(without) == [1, *a]
    assert rendered(("<s>", True)).encode(model).count(1) == 1


def test_special_tokens_do_not_form_across_a_border() -> None:
    model = tokenizer.load(spm("▁a"))
    for parts in (
        [("<", False), ("s>", True)],
        [("<s", True), (">", False)],
        [("<", False), ("s", True), (">", False)],
    ):
        assert 1 not in rendered(*parts).encode(model)[1:]
    assert rendered(("<", False), ("s>", False)).encode(model) == [1]
    assert rendered((HOLE, False), ("<s>" + HOLE, True), ("<s>", False)).encode(model)[1:].count(1) == 1


def test_words_grow_across_a_border() -> None:
    model = tokenizer.load(spm("▁a", "▁ab", "ab", "b", "▁", "a"))
    assert rendered(("a", False), ("b", True)).encode(model) == model.encode("ab")
