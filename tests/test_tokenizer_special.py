"""What a user writes never becomes a special token, whatever it spells; what the template writes does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import golden, keys, real_tokenizer

from llmlocal.tokenizer import base, load
from llmlocal.tokenizer.prefixes import Prefixes
from llmlocal.tokenizer.special import BLANKS, Special, SpecialTokens
from llmlocal.tokenizer.vocab import CONTROL, UNKNOWN

FILES = ("bert-bge", "deepseek-llm", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2")
FORGED = (
    *("<s>", "</s>", "<unk>", "<pad>", "<mask>", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[INST]", "<<SYS>>", "<0x0A>"),
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|begin_of_text|>"),
    *("<start_of_turn>", "<end_of_turn>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|user|>", "<|end|>"),
)


@pytest.mark.parametrize("name", FILES)
def test_hostile_texts(name: str) -> None:
    """10,000 in all files together, of the files' own special strings and everybody else's."""
    tokenizer = real_tokenizer(name)
    vocab = tokenizer.vocab
    own = [vocab.tokens[id] for id in vocab.of_type(CONTROL, UNKNOWN)]
    special = set(vocab.of_type(CONTROL, UNKNOWN)) | set(vocab.special.values()) | vocab.stop_ids
    special -= {vocab.special["unk"]} if name == "bert-bge" else set()  # what it cannot spell, as everywhere
    rng = random.Random(name)
    for _ in range(10_000 // len(FILES) + 1):
        parts = rng.choices((*own, *FORGED), k=rng.randint(1, 4)) + rng.choices(("", " ", "\n", "user", "é"), k=2)
        rng.shuffle(parts)
        text = "".join(parts)
        assert special.isdisjoint(tokenizer.encode(text, add_special=False)), repr(text)


@pytest.mark.parametrize("name", FILES)
def test_scaffolding_is_parsed(name: str) -> None:
    tokenizer = real_tokenizer(name)
    vocab = tokenizer.vocab
    for id in vocab.of_type(CONTROL):
        assert id in tokenizer.encode(f"x{vocab.tokens[id]}x", add_special=False, parse_special=True)


@pytest.mark.parametrize(
    "metadata",
    [
        keys({"model": "gpt2", "pre": "gpt-2", "tokens": ["<|endoftext|>", "a", "b"], "merges": ["a b"]}),
        keys({"model": "gemma4", "tokens": ["<|endoftext|>", "a", "b", "<s>"], "merges": ["a b"]}),
        keys({"model": "rwkv", "tokens": ["<|endoftext|>", "a", "b"]}),
        keys({"model": "llama", "tokens": ["<|endoftext|>", "a", "b"], "scores": [0.0] * 3, "add_bos_token": False}),
        keys({"model": "plamo2", "tokens": ["<|endoftext|>", "a", "b", "<pad>"], "scores": [0.0] * 4}),
        keys({"model": "t5", "tokens": ["<|endoftext|>", "a", "b"], "scores": [0.0] * 3, "add_eos_token": False}),
        keys({"model": "bert", "tokens": ["<|endoftext|>", "▁a", "▁b", "[SEP]"], "seperator_token_id": 3}),
    ],
    ids=lambda metadata: str(metadata["tokenizer.ggml.model"]),
)
def test_what_the_vocabulary_lacks_never_becomes_a_control_token(metadata: dict[str, object]) -> None:
    """Where the file names its end of text as the unknown token, as SmolLM2 and StarCoder do."""
    ids = dict.fromkeys(("bos", "eos", "unknown", "padding", "mask"), 0)
    tokenizer = load({f"tokenizer.ggml.{name}_token_id": id for name, id in ids.items()} | metadata)
    assert 0 in tokenizer.stop_ids
    assert tokenizer.encode("a\x04 éb", add_special=False)
    assert 0 not in tokenizer.encode("a\x04 é日 c b", add_special=False)


def test_all_golden_files_are_there() -> None:
    assert sum(len(golden(name)[1]) for name in FILES) == 322


@pytest.mark.parametrize("name", FILES)
def test_a_text_in_pieces_has_the_same_tokens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PIECE", 100)
    tokenizer = real_tokenizer(name)
    text = "\n".join(text for text, _ in golden(name)[1]) * 2 + "the end of the text"
    data = text.encode()
    pieces = [data[at : at + 37] for at in range(0, len(data), 37)]
    found = list(tokenizer.encode_pieces(pieces, parse_special=True))
    assert [id for part in found for id in part] == tokenizer.encode(text, parse_special=True)
    assert len(found) > 10


def test_a_long_text_without_spaces_is_read_once() -> None:
    """The search for a place to cut took quadratic time: hours for this text."""
    tokenizer = real_tokenizer("llama-bpe")
    text = b"a" * base.PIECE * 2
    found = list(tokenizer.encode_pieces([text[: base.PIECE], text[base.PIECE :], b"b c"]))
    assert tokenizer.decode_bytes([id for part in found for id in part]) == text + b"b c"


def test_what_cannot_fit_is_known_without_encoding() -> None:
    """No text with fewer tokens is longer; where a token can stand for any text, nothing is known."""
    for name in FILES:
        tokenizer = real_tokenizer(name)
        for text, ids in golden(name)[1]:
            most = tokenizer.most_bytes(len(ids))
            assert (most is None) == (name == "bert-bge") and (most is None or len(text.encode()) <= most + 1)


def split_one_by_one(text: str, specials: Iterable[Special]) -> list[str | int]:
    """The definition: each special token in turn, the longest first, is split off the texts that are left."""
    parts: list[str | int] = [text] if text else []
    for special in sorted(specials, key=lambda special: -len(special.text.encode())):
        new: list[str | int] = []
        for part in parts:
            if isinstance(part, int):
                new.append(part)
                continue
            while special.text in part:
                before, _, part = part.partition(special.text)
                before = before.rstrip(BLANKS) if special.lstrip else before
                part = part.lstrip(BLANKS) if special.rstrip else part
                new += [before, special.id] if before else [special.id]
            new += [part] if part else []
        parts = new
    return parts


@given(st.data())
def test_the_longest_is_split_off_first(data: st.DataObject) -> None:
    texts = data.draw(st.sets(st.text("ab é", min_size=1, max_size=5), max_size=8))
    flags = st.fixed_dictionaries({name: st.booleans() for name in ("always", "lstrip", "rstrip")})
    specials = [Special(id, text, **data.draw(flags)) for id, text in enumerate(sorted(texts))]
    text = data.draw(st.text("ab é", max_size=40))
    tokens = SpecialTokens(specials)
    assert tokens.split(text) == split_one_by_one(text, specials)
    for always in (True, False):
        wanted = [special for special in specials if special.always is always]
        assert tokens.split(text, user_defined=always, control=not always) == split_one_by_one(text, wanted)


@pytest.mark.parametrize("unit", ["a", "ab", "abcdefghij" * 5], ids=len)
def test_a_file_cannot_ask_for_quadratic_time(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of user-defined tokens, all of them in the text, and those that are beginnings of others."""
    looks = Counter[str]()
    for name in ("longest", "matches"):
        monkeypatch.setattr(Prefixes, name, counted(getattr(Prefixes, name), looks))
    words = map("".join, product("abcdefghij", repeat=4))
    texts = sorted({*"abcdefghij", *("a" * n for n in range(2, 100)), *words})
    tokens = SpecialTokens(Special(id, text, always=True) for id, text in enumerate(texts))
    text = "".join(random.Random(unit).choices((unit, "abcdefghij", "b", "z"), (97, 1, 1, 1), k=20_000 // len(unit)))
    assert len(tokens.split(text)) > 100
    assert looks.total() < 2 * len(text)


def counted(function: Callable[..., Any], calls: Counter[str]) -> Callable[..., Any]:
    def counting(*arguments: Any) -> Any:
        calls[function.__name__] += 1
        return function(*arguments)

    return counting


def test_long_tokens_take_no_memory_beyond_the_file() -> None:
    tokens = Prefixes({"ab" + "z" * 60_000: 0, "a": 1, "ab": 2})
    text = "ab" * 1000
    assert all(tokens.matches(text, at) == [(2, 2), (1, 1)] for at in range(0, len(text), 2))
    assert sum(map(len, tokens._seen)) < 2**16
