"""Vocabularies in files of their own: PLaMo, RWKV, and the ranks of tiktoken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from folder_vocabularies import PREFIX, vocabulary, write_ranks
from hf_folders import write_json
from vocabularies import real

from llmlocal.convert.vocabulary import read_vocabulary
from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf
from llmlocal.hf.config import Settings
from llmlocal.hf.folder import Folder
from llmlocal.tokenizer import load
from llmlocal.tokenizer.bpe import BYTES_OF


def test_the_vocabulary_file_of_plamo(tmp_path: Path) -> None:
    """Control tokens of the form <|plamo:...|> have the type NORMAL in the file; ids behind its lines are unused."""
    types = [("<|plamo:unk|>", "UNKNOWN"), ("<|plamo:bos|>", "CONTROL"), ("<|plamo:eos|>", "NORMAL")]
    types += [
        ("<|plamo:pad|>", "CONTROL"),
        ("<|plamo:op|>", "NORMAL"),
        ("ab", "NORMAL"),
        ("a", "NORMAL"),
        ("b", "NORMAL"),
    ]
    types += [(f"<0x{byte:02X}>", "BYTE") for byte in range(256)]
    lines = [json.dumps([text, -float(i), kind, None]) for i, (text, kind) in enumerate(types)]
    file = tmp_path / "tokenizer.jsonl"
    file.write_text("\n".join(lines) + "\n")
    write_json(tmp_path / "config.json", {"vocab_size": 266})
    names = {f"{kind}_token": f"<|plamo:{kind}|>" for kind in ("bos", "eos", "pad", "unk")}
    write_json(tmp_path / "tokenizer_config.json", names)
    keys = vocabulary(tmp_path)
    assert keys[f"{PREFIX}token_type"] == [2, 3, 3, 3, 3, 1, 1, 1] + [6] * 256 + [5, 5]
    assert keys[f"{PREFIX}tokens"][-2:] == ["[PAD1]", "[PAD2]"] and keys[f"{PREFIX}scores"][-3:] == [-263, -1000, -1000]
    ids = ("bos", "eos", "padding", "unknown", "eot")
    assert [keys[f"{PREFIX}{kind}_token_id"] for kind in ids] == [1, 2, 3, 0, 4]
    assert load(keys).encode("abaé", add_special=False) == [5, 6, 8 + 0xC3, 8 + 0xA9]
    for line in ('["a"]', "{}", '["a", "b"]', '["a", NaN]', "[1, 2]", "["):
        file.write_text(f"{lines[0]}\n{line}\n")
        with pytest.raises(BadFileError, match=r"line 2: .* is not a token"):
            read_vocabulary(Settings(Folder(tmp_path), {}))


def test_the_vocabulary_file_of_rwkv(tmp_path: Path) -> None:
    words = [*(bytes([byte]) for byte in range(256)), b"\n\n", "日本".encode(), b"it's", b"\\x", b"'\"", b"\xe6\x97"]
    spelled = [
        repr(word.decode()) if word.isascii() or (word[0] == 0xE6 and len(word) > 2) else repr(word) for word in words
    ]
    lines = [f"{i} {text} {len(word)}" for i, (word, text) in enumerate(zip(words, spelled, strict=True), 1)]
    file = tmp_path / "rwkv_vocab_v20230424.txt"
    file.write_text("\n".join(lines) + "\n")
    write_json(tmp_path / "config.json", {"vocab_size": 270, "bos_token_id": 1, "eos_token_id": 2})
    keys = vocabulary(tmp_path)
    assert keys[f"{PREFIX}token_type"] == [3] + [1] * len(words) + [5] * (269 - len(words))
    assert [keys[f"{PREFIX}{kind}_token_id"] for kind in ("bos", "eos", "eot")] == [0, 0, 257]
    tokenizer = load(keys)
    for id, word in enumerate(words, 1):
        assert tokenizer.encode(word, add_special=False) == [id] and tokenizer.piece(id) == word
    for line in (
        "7 'a' 2",
        "x 'a' 1",
        "7 a 1",
        "7 'a'+('b') 1",
        "7 b'\\ud800' 1",
        "7 '\\ud800' 3",
        "7 'a",
        f"{1 << 28} 'a' 1",
    ):
        file.write_text(f"{lines[0]}\n{line}\n")
        with pytest.raises(BadFileError, match=r"line 2: .* is not a token|vocab_size"):
            read_vocabulary(Settings(Folder(tmp_path), {}))


def test_ranks_of_tiktoken(tmp_path: Path) -> None:
    """Qwen's merges were made of such a file: its first ranks give the first of them."""
    with open_gguf(real("vocab/ggml-vocab-qwen2.gguf")) as gguf:
        spelled = list(gguf.metadata[f"{PREFIX}tokens"])[:6000]
        merges = list(gguf.metadata[f"{PREFIX}merges"])[: 6000 - 256]
    write_ranks(tmp_path, [b"".join(BYTES_OF[sign] for sign in text) for text in spelled])
    keys = vocabulary(tmp_path)
    assert keys[f"{PREFIX}pre"] == "kimi-k2" and keys[f"{PREFIX}merges"] == merges
    reserved = {6001: "[EOS]", 6003: "<|im_end|>"}
    special = [reserved.get(id, f"<|reserved_token_{id}|>") for id in range(6000, 6256)]
    assert keys[f"{PREFIX}tokens"] == [*spelled, *special, *(f"[PAD{id}]" for id in range(6256, 6300))]
    assert keys[f"{PREFIX}token_type"] == [1] * 6000 + [3] * 256 + [5] * 44
    assert keys[f"{PREFIX}eos_token_id"] == 6001 and load(keys).stop_ids == {6001, 6003}


@pytest.mark.parametrize("line", ["!!! 3", "YQ==", "YQ== x", "YQ== 7", "Yg== 0"])
def test_wrong_ranks_are_refused(line: str, tmp_path: Path) -> None:
    write_ranks(tmp_path, [b"a"])
    file = tmp_path / "tiktoken.model"
    file.write_text(file.read_text() + line)
    with pytest.raises(BadFileError, match=r"line 2: .* is not a token|ranks are not 0"):
        vocabulary(tmp_path)


def test_ranks_of_an_unknown_tokenizer_are_refused(tmp_path: Path) -> None:
    write_ranks(tmp_path, [b"a"])
    write_json(tmp_path / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["other.Tokenizer", 3]}})
    with pytest.raises(BadFileError, match="class is not known") as error:
        vocabulary(tmp_path)
    assert "tokenizer.json" in error.value.hint
