"""Unigram vocabularies of folders, and the steps before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from folder_vocabularies import PREFIX, unigram, vocabulary
from hf_folders import write_json, write_spm

from llmlocal.convert.vocabulary import read_vocabulary
from llmlocal.errors import BadFileError
from llmlocal.tokenizer import load


def test_unigram(tmp_path: Path) -> None:
    """A Unigram vocabulary is no BPE: its tokens are chosen by the sum of scores."""
    write_spm(tmp_path, kind=1, dummy_prefix=False)
    write_json(tmp_path / "config.json", {})
    keys = vocabulary(tmp_path)
    assert keys[PREFIX + "model"] == "t5" and keys[PREFIX + "add_space_prefix"] is False
    pieces = [[text, -float(i)] for i, text in enumerate(("<unk>", "▁", "a", "b", "▁ab"))]
    (tmp_path / "tokenizer.model").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": pieces}
    write_json(tmp_path / "tokenizer.json", {"pre_tokenizer": metaspace, "model": unigram})
    write_json(tmp_path / "config.json", {"vocab_size": 7, "eos_token_id": 0, "unk_token_id": 0, "pad_token_id": 0})
    keys = vocabulary(tmp_path)
    assert keys[PREFIX + "tokens"] == ["<unk>", "▁", "a", "b", "▁ab", "[PAD5]", "[PAD6]"]
    assert keys[PREFIX + "token_type"] == [2, 1, 1, 1, 1, 5, 5] and keys[PREFIX + "add_space_prefix"] is True


def test_unigram_composes_characters_where_the_folder_says_so(tmp_path: Path) -> None:
    """NFC as DeBERTa v2 has it; transformers 5.24 gives the same ids."""
    for normalizers, want in (([{"type": "NFC"}], [1, 4, 3, 4]), ([], [1, 4, 2, 0, 4])):
        keys = read_vocabulary(unigram(tmp_path, normalizers, []))
        tokenizer = load({key: value[1] if isinstance(value, tuple) else value for key, value in keys.items()})
        assert tokenizer.encode("te\u0301t", add_special=False) == want


def test_a_map_of_characters_that_is_empty_replaces_nothing(tmp_path: Path) -> None:
    """A tokenizer of the identity may have one; llama.cpp reads none, too."""
    unigram(tmp_path, [{"type": "Precompiled", "precompiled_charsmap": ""}], [])
    keys = vocabulary(tmp_path)
    assert PREFIX + "precompiled_charsmap" not in keys
    for more in ({}, {PREFIX + "precompiled_charsmap": []}):
        assert load(keys | more).encode("te", add_special=False) == [1, 4, 2]


@pytest.mark.parametrize(
    ("normalizers", "pretokenizers", "config", "words"),
    [
        ([{"type": "NFKC"}], [], {}, "the step 'NFKC' is not supported"),
        ([{"type": "NFKD"}], [], {}, "the step 'NFKD' is not supported"),
        ([{"type": "Replace", "pattern": {"String": "x"}, "content": "y"}], [], {}, "the step 'Replace'"),
        ([], [{"type": "Punctuation", "behavior": "Isolated"}], {}, "the step 'Punctuation'"),
        ([{"type": "Lowercase"}, {"typo": 1}], [], {}, "the step 'None'"),
        ([], [], {"split_by_punct": True}, "split_by_punct is not supported"),
    ],
)
def test_steps_before_a_unigram_vocabulary_are_obeyed_or_refused(
    normalizers: list[Any], pretokenizers: list[Any], config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadFileError, match=words):
        read_vocabulary(unigram(tmp_path, normalizers, pretokenizers, **config))


@pytest.mark.parametrize("score", ["1e400", "1" + "0" * 400, '"1"', "null"])
def test_scores_that_no_float_holds(score: str, tmp_path: Path) -> None:
    s = unigram(tmp_path, [], [])
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("-2.0", score), encoding="utf-8")
    with pytest.raises(BadFileError, match="entry 2 of the vocabulary is not a text with a score"):
        read_vocabulary(s)


def test_lower_case_that_the_tokenizer_lacks_is_named(tmp_path: Path) -> None:
    s = unigram(tmp_path, [{"type": "Strip", "strip_left": False, "strip_right": True}], [], do_lower_case=True)
    read_vocabulary(s)
    assert len(s.notes) == 1 and "do_lower_case" in s.notes[0]
