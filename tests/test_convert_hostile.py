"""Folders that are damaged or mean harm: one line, exit code 5 (3 for what is missing), and no file."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import golden, settings
from families import write_weights as write_family
from families.converted import write_tokenizer
from families.shared import LLAMA3
from folder_vocabularies import write_ranks
from hf_folders import CASES, as_type, safetensors_bytes, write_folder, write_json, write_spm
from hypothesis import given
from hypothesis import strategies as st
from wrong_folders import INDEX, WRONG, reweighted

from llmlocal.convert.card import general_keys, why_unread
from llmlocal.convert.hf_source import open_hf
from llmlocal.convert.sentencepiece import read_sentencepiece
from llmlocal.convert.tiktoken import LONGEST
from llmlocal.convert.vocabulary import read_vocabulary
from llmlocal.errors import BadFileError
from llmlocal.hf.config import Settings
from llmlocal.hf.folder import MAX_CARD, Folder
from llmlocal.hf.safetensors import Safetensors

Said = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_folders(name: str, tmp_path: Path, said: Said) -> None:
    case, change, code, words = WRONG[name]
    folder = write_folder(tmp_path / "folder", CASES[case])
    change(folder)
    out = tmp_path / "out.gguf"
    got = said("convert", folder, out, "-q")  # no note where kernels are compiled, which a cold cache makes one case do
    assert got[:2] == (code, "") and words in got[2], got
    error, *hint = got[2].splitlines()
    assert error.startswith("error: ") and len(hint) <= 1 and "\x1b" not in got[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]


def test_output(tmp_path: Path, said: Said) -> None:
    """What is there stays, unless --force; a file of the source always."""
    folder = write_folder(tmp_path / "folder", CASES["llama-linear"])
    out = tmp_path / "out.gguf"
    assert said("convert", folder, out, "--type", "q8_0")[0] == 0
    before = out.read_bytes()
    assert said("convert", folder, out, "--type", "f32")[0] == 2 and out.read_bytes() == before
    assert said("convert", folder, folder / "model.safetensors", "--force")[0] == 2
    assert said("convert", folder, tmp_path, "--force")[0] == 2
    assert said("convert", folder, out, "--type", "f32", "--force")[0] == 0 and out.read_bytes() != before
    assert said("convert", folder, tmp_path / "none" / "out.gguf")[0] == 3
    assert said("convert", folder, tmp_path / "o.gguf", "--type", "q4_0")[0] == 2
    assert said("convert", tmp_path / "none", tmp_path / "o.gguf")[0] == 3


def test_a_folder_where_a_file_is_wanted(tmp_path: Path, said: Said) -> None:
    """Commands that read GGUF files say how to make one of the folder."""
    folder = write_folder(tmp_path / "folder", CASES["llama-linear"])
    for words in (("run", folder, "hello", "--no-stdin"), ("gguf", "hash", folder)):
        code, _, err = said(*words)
        assert code == 5 and "is a Hugging Face folder" in err and "hint: llmlocal convert FOLDER" in err


def test_too_large_for_f16(tmp_path: Path, said: Said) -> None:
    folder = write_folder(tmp_path / "folder", CASES["llama-linear"])
    reweighted(lambda t: t["lm_head.weight"].__setitem__((0, 0), 1e6))(folder)
    code, _, error = said("convert", folder, tmp_path / "out.gguf", "--type", "f16")
    assert code == 5 and "--type bf16" in error and not (tmp_path / "out.gguf").exists()
    assert said("convert", folder, tmp_path / "out.gguf", "--type", "bf16")[0] == 0


@given(data=st.data())
def test_damaged_headers(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever bytes change, a file is read or refused."""
    whole = bytearray(safetensors_bytes({n: ("BF16", as_type(np.ones((2, 3), np.float32), "BF16")) for n in "ab"}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.safetensors"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with suppress(BadFileError):
        file = Safetensors(path)
        for x in file.tensors.values():
            x.read(0, x.rows)
        file.close()


BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)), "tags: *a39"])
CARDS = {
    "aliases": (BOMB, "has aliases in its YAML"),
    "a long list": ("tags: [" + "a, " * 100_000 + "]", "more than 256 KiB of YAML"),
    "a long file": ("tags: [a]\n---\n" + "x" * MAX_CARD, "has more than 1 MiB"),
    "a base that is a list": ("license: mit\nbase_model: [[x, y], 'no / known name']", ""),
    "no object": ("[1, 2]", ""),
    "deep": ("a: " + "[" * 5000, ""),
}


@pytest.mark.parametrize("card", CARDS)
def test_cards_that_would_take_long(card: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A card is only a description: no library says anything of it, and a note says why it is not read."""
    text, told = CARDS[card]
    write_json(tmp_path / "config.json", {})
    (tmp_path / "README.md").write_text(f"---\n{text}\n---\n")
    folder = Folder(tmp_path)
    keys = general_keys(folder, {})
    assert told in why_unread(folder) and bool(told) == bool(why_unread(folder))
    assert ("general.license" in keys) == ("license" in text) and capfd.readouterr() == ("", "")


def test_tokens_of_tiktoken_that_begin_alike(tmp_path: Path) -> None:
    """Merges of each are found in the time of sorting its bytes."""
    write_ranks(tmp_path, [bytes([byte]) for byte in range(256)] + [b"a" * n for n in range(2, LONGEST + 1)])
    write_json(tmp_path / "config.json", {"vocab_size": 1024})
    merges = read_vocabulary(Settings(Folder(tmp_path), {}))["tokenizer.ggml.merges"][1]
    assert len(merges) == LONGEST - 1 and merges[:3] == ["a a", "aa a", "aa aa"]
    write_ranks(tmp_path, [b"a", b"b" * (LONGEST + 1)])
    with pytest.raises(BadFileError, match="a token is too long"):
        read_vocabulary(Settings(Folder(tmp_path), {}))


@given(data=st.data())
def test_damaged_vocabularies(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    write_spm(folder)
    path = folder / "tokenizer.model"
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    with suppress(BadFileError):
        assert read_sentencepiece(path).pieces


OPENED = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors"),
    *("chat_template.jinja", "additional_chat_templates/tool.jinja", "README.md", "special_tokens_map.json", INDEX),
)


@pytest.mark.parametrize("name", OPENED)
def test_nothing_outside_the_folder_is_opened(name: str, tmp_path: Path, said: Said) -> None:
    folder = write_folder(tmp_path / "folder", CASES["llama-linear"])
    if name.startswith("additional"):
        (folder / "chat_template.jinja").write_text("own")
        (folder / "additional_chat_templates").mkdir()
    file = folder / name
    outside = file.rename(tmp_path / "secret") if file.exists() else tmp_path / "secret"
    if not outside.exists():
        outside.write_text("{}")
    file.symlink_to(outside)
    code, _, error = said("convert", folder, tmp_path / "out.gguf")
    assert code == 5 and "is a link to a file outside of the folder" in error and not (tmp_path / "out.gguf").exists()


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    folder = Folder(write_folder(tmp_path / "folder", CASES["llama-linear"]))
    assert folder.has("config.json")
    assert not any(folder.has(name) for name in ("a\0b", "\ud800", "x" * 9999, "none"))


def test_a_folder_of_links_outside_is_outside(tmp_path: Path, said: Said) -> None:
    folder = write_folder(tmp_path / "folder", CASES["llama-linear"])
    (folder / "chat_template.jinja").write_text("own")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "tool.jinja").write_text("secret")
    (folder / "additional_chat_templates").symlink_to(tmp_path / "elsewhere")
    assert said("convert", folder, tmp_path / "out.gguf")[0] == 5


def test_the_hubs_cache_is_made_of_links(tmp_path: Path, said: Said) -> None:
    home = tmp_path / "models--org--name"
    folder = write_folder(home / "snapshots" / "0123", CASES["llama-linear"])
    (home / "blobs").mkdir()
    for number, file in enumerate([path for path in folder.iterdir() if path.is_file()]):
        file.rename(home / "blobs" / str(number))
        file.symlink_to(Path("../../blobs") / str(number))
    assert said("convert", folder, tmp_path / "out.gguf")[0] == 0
    (tmp_path / "secret").write_text("secret")
    (home / "blobs" / "n").symlink_to(tmp_path / "secret")
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "generation_config.json").symlink_to("../../blobs/n")
    assert said("convert", folder, tmp_path / "other.gguf")[0] == 5


@pytest.mark.parametrize(
    ("case", "changes", "words"),
    [
        ("llama", {"rope_scaling": LLAMA3 | {"factor": 1e-320}}, "rope_parameters are out of range"),
        ("qwen35", {"full_attention_interval": 0}, "full_attention_interval is 0"),
        ("qwen35", {"num_hidden_layers": 2**32 - 1, "layer_types": None}, "4294967295 layers in a model of"),
        ("qwen35", {"rope_parameters": {"mrope_section": "x", "rope_theta": 1e4}}, "mrope_section must be a list"),
        ("qwen35", {"linear_num_value_heads": 2**31}, "does not have 2147483648 value heads"),
        ("qwen35", {"linear_num_key_heads": 0}, "for 0 key heads"),
        ("qwen35", {"linear_num_key_heads": 2**31}, "2147483648 key heads"),
        ("qwen3next", {"linear_num_key_heads": 2**31}, "2147483648 key heads"),
        ("lfm2", {"num_hidden_layers": 2**32 - 1, "layer_types": None}, "4294967295 layers in a model of"),
    ],
)
def test_sizes_that_no_tensor_has(case: str, changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    """Nothing is made of a number before it is known to be that of a tensor."""
    (tmp_path / "config.json").write_text(json.dumps(settings(case) | changes))
    write_family(tmp_path, case, golden(case)[0])
    write_tokenizer(tmp_path)
    with pytest.raises(BadFileError, match=words), open_hf(tmp_path):
        pass
