"""What a user writes never becomes a special token, whatever it spells; what the template writes does."""

from __future__ import annotations

import random

import pytest
from vocabularies import golden, real_tokenizer

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


def test_all_golden_files_are_there() -> None:
    assert sum(len(golden(name)[1]) for name in FILES) == 322
