"""What a user writes never becomes a special token, whatever it spells; what the template writes does."""

from __future__ import annotations

import random

import pytest
from vocabularies import golden, keys, real_tokenizer

from llmlocal.tokenizer import base, load
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
