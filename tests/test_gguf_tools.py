"""`gguf set`, `rename-template`, `split`, `merge`, `diff` and `hash`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from inspect import signature
from pathlib import Path

import gguf
import pytest
from quantized_files import write_small
from recipe_models import Small

from llmlocal.gguf import ValueType, open_gguf, write_gguf
from llmlocal.gguf.known_keys import known_type

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    write_small(path, Small("llama", 2, 64, 96))
    return path


def raw(path: Path, key: str) -> tuple[ValueType, object]:
    with open_gguf(path) as file:
        kind, value = file.metadata.raw()[key]
        return kind, str(value, "utf-8") if isinstance(value, memoryview) else value


@pytest.mark.parametrize(
    ("key", "value", "options", "want"),
    [
        ("general.name", "5", (), (ValueType.STRING, "5")),  # it is a string before
        ("llama.block_count", "7", (), (ValueType.U32, 7)),
        ("my.number", "-7", (), (ValueType.I32, -7)),
        ("my.number", "7", ("--type", "u8"), (ValueType.U8, 7)),
        ("my.number", "1.5", (), (ValueType.F32, 1.5)),
        ("my.flag", "true", (), (ValueType.BOOL, True)),
        ("my.text", "some words", (), (ValueType.STRING, "some words")),
        ("my.text", "7", ("--type", "string"), (ValueType.STRING, "7")),
        ("general.author", "7", (), (ValueType.STRING, "7")),  # GGUF says of what type these are
        ("llama.rope.scaling.factor", "2", (), (ValueType.F32, 2.0)),
        ("general.sampling.top_k", "40", (), (ValueType.I32, 40)),
        ("llama.block_count", "7", ("--type", "u16"), (ValueType.U16, 7)),
    ],
)
def test_set(said: Said, model: Path, tmp_path: Path, key: str, value: str, options: tuple[str, ...], want: object) -> None:  # fmt: skip # noqa: E501
    before, out = model.read_bytes(), tmp_path / "out.gguf"
    assert said("gguf", "set", *options, "-o", out, "--", model, key, value)[0] == 0
    assert raw(out, key) == want and model.read_bytes() == before
    with open_gguf(model) as old, open_gguf(out) as new:
        assert {n: bytes(t.data) for n, t in old.tensors.items()} == {n: bytes(t.data) for n, t in new.tensors.items()}
    assert gguf.GGUFReader(out).tensors


def test_a_wrong_type_is_put_right(said: Said, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, {"general.architecture": "llama", "llama.block_count": "7"}, [])
    assert said("gguf", "set", path, "llama.block_count", "7", "--in-place")[0] == 0
    assert raw(path, "llama.block_count") == (ValueType.U32, 7)
    assert said("gguf", "set", path, "mine.block_count", "7", "--in-place")[0] == 0
    assert said("gguf", "set", path, "general.architecture", "mine", "--in-place")[0] == 0


def test_types_of_keys_are_those_of_the_gguf_package() -> None:
    """Its writer is asked with which type it adds each key; of integers, whose text tells their type, some are left."""
    types: dict[str, str] = {}
    writer = gguf.GGUFWriter.__new__(gguf.GGUFWriter)
    writer.arch = "llama"
    adders = {name: f for name, f in vars(gguf.GGUFWriter).items() if name.startswith("add_")}
    scalars = {"uint32": "u32", "int32": "i32", "float32": "f32", "bool": "bool", "string": "string"}
    for name in [*scalars, "array", "key_value"]:
        kept = partial(lambda kind, key, *_: types.update({key: kind}) if kind else None, scalars.get(name))
        setattr(writer, f"add_{name}", kept)
    for name, add in adders.items():
        values = ["x" if p.annotation.startswith("str") else 1 for p in list(signature(add).parameters.values())[1:]]
        if values and name not in vars(writer):
            with suppress(AttributeError):  # those of tensors, and those that take an enumeration
                add(writer, *values)
    ours = {key: known_type(key) for key in types if not key.startswith(("clip.", "diffusion."))}
    assert len(ours) > 150
    wrong = {k: kind for k, kind in ours.items() if kind and kind.label != types[k]}
    unknown = {k for k, kind in ours.items() if not kind and types[k] != "u32"}
    assert (wrong, unknown) == ({}, set())


def test_set_in_place_and_remove(said: Said, model: Path) -> None:
    assert said("gguf", "set", model, "general.name", "other", "--in-place")[0] == 0
    assert raw(model, "general.name") == (ValueType.STRING, "other")
    assert said("gguf", "set", model, "general.name", "--remove", "--in-place")[0] == 0
    with open_gguf(model) as file:
        assert "general.name" not in file.metadata
    assert said("gguf", "set", model, "general.name", "--remove", "--in-place")[0] == 3


def test_set_from_a_file(said: Said, model: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text("{{ 'é' }}\n")
    key = "tokenizer.chat_template"
    assert said("gguf", "set", model, key, f"@{tmp_path / 't.jinja'}", "--in-place")[0] == 0
    assert raw(model, key) == (ValueType.STRING, "{{ 'é' }}\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ("general.name", "x")),
        (("--in-place",), ("general.name",)),
        (("--remove", "--in-place"), ("general.name", "x")),
        (("--in-place",), ("llama.block_count", "many")),
        (("--type", "u32", "--in-place"), ("llama.block_count", "-1")),
        (("--type", "f16", "--in-place"), ("a", "x")),
        (("--in-place",), ("a", "@none")),
        (("--in-place",), ("general.alignment", "7")),
        (("--in-place",), ("general.architecture", "3")),  # no key is of an architecture of this name
        (("--in-place",), ("llama.vocab_size", "many")),
        (("--type", "string", "--in-place"), ("llama.block_count", "7")),
        (("--in-place",), ("tokenizer.ggml.add_bos_token", "1")),
        (("--in-place",), ("", "x")),
        (("--in-place",), ("a", "\udcff")),
        (("--in-place",), ("tokenizer.ggml.model", "x", "y")),
    ],
)
def test_set_refuses(said: Said, model: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    before = model.read_bytes()
    code, out, err = said("gguf", "set", *options, "--", model, *words)
    assert (code, out) == (2, "") and err.startswith("error: ")
    assert model.read_bytes() == before


def test_rename_template(said: Said, model: Path) -> None:
    key = "tokenizer.chat_template"
    assert said("gguf", "rename-template", model, "default", "plain", "--in-place")[0] == 3
    assert said("gguf", "set", model, key, "first", "--in-place")[0] == 0
    assert said("gguf", "rename-template", model, "default", "plain", "--in-place")[0] == 0
    assert raw(model, f"{key}.plain") == (ValueType.STRING, "first")
    with open_gguf(model) as file:
        assert key not in file.metadata and list(file.metadata["tokenizer.chat_templates"]) == ["plain"]
    assert said("gguf", "rename-template", model, "plain", "default", "--in-place")[0] == 0
    assert raw(model, key) == (ValueType.STRING, "first")
    with open_gguf(model) as file:
        assert "tokenizer.chat_templates" not in file.metadata


@pytest.mark.parametrize("value", [7, ["a", "b"], True])
def test_a_template_that_is_no_text_is_not_renamed(value: object, said: Said, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, {"general.architecture": "none", "tokenizer.chat_template": value}, [])
    code, out, err = said("gguf", "rename-template", path, "default", "plain", "--in-place")
    assert (code, out) == (5, "") and "tokenizer.chat_template is not a text" in err


def test_split_and_merge_come_back(said: Said, model: Path, tmp_path: Path) -> None:
    code, out, _ = said("gguf", "split", model, "20K", "-o", tmp_path / "part")
    parts = [Path(line) for line in out.splitlines()]
    assert code == 0 and len(parts) > 2
    assert [p.name for p in parts] == [f"part-{i + 1:05}-of-{len(parts):05}.gguf" for i in range(len(parts))]
    assert said("gguf", "merge", parts[0], "-o", tmp_path / "whole.gguf")[0] == 0
    assert said("gguf", "diff", model, tmp_path / "whole.gguf")[:2] == (0, "")
    assert said("gguf", "split", model, "20K", "-o", tmp_path / "part")[0] == 2
    assert said("gguf", "merge", parts[0], "-q")[:2] == (0, f"{tmp_path / 'part.gguf'}\n")  # its own name by default
    assert said("gguf", "diff", model, tmp_path / "part.gguf")[:2] == (0, "")
    assert said("gguf", "merge", model)[0] == 2 and said("gguf", "merge", parts[0])[0] == 2
    parts[1].unlink()
    assert said("gguf", "merge", parts[0], "-o", tmp_path / "other.gguf")[0] == 5
    assert not (tmp_path / "other.gguf").exists()


def test_diff_tells_keys_and_tensors(said: Said, model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    assert said("quantize", model, other, "Q8_0", "-q")[0] == 0
    code, out, _ = said("gguf", "diff", model, other)
    assert code == 1 and "tensor blk.0.ffn_up.weight: F16 96 x 64 -> Q8_0 96 x 64" in out
    found = json.loads(said("gguf", "diff", model, other, "--json")[1])["differences"]
    assert {"where": "key", "name": "general.file_type", "old": "1", "new": "7"} in found


def test_diff_sees_one_bit(said: Said, model: Path, tmp_path: Path) -> None:
    data, other = bytearray(model.read_bytes()), tmp_path / "other.gguf"
    with open_gguf(model) as file:
        size = file.tensors["output.weight"].nbytes
    data[len(data) - size + 5] ^= 1
    other.write_bytes(data)
    code, out, _ = said("gguf", "diff", model, other)
    assert code == 1 and out.startswith("tensor output.weight") and len(out.splitlines()) == 1


def test_hash(said: Said, model: Path) -> None:
    code, out, _ = said("gguf", "hash", model, "--json")
    record = json.loads(out)
    with open_gguf(model) as file:
        want = {n: hashlib.sha256(t.data).hexdigest() for n, t in file.tensors.items()}
        every = hashlib.sha256(b"".join(bytes(t.data) for t in file.tensors.values())).hexdigest()
    assert code == 0 and record["tensors"] == want and record["all"] == every
    assert said("gguf", "hash", model)[1].splitlines()[-1] == f"{every}  all tensors"
    other = Path(shutil.copy(model, model.with_name("other.gguf")))
    lines = said("gguf", "hash", model, other)[1].splitlines()
    assert len(lines) == 2 * (len(want) + 1) and lines[-1] == f"{every}  {other}: all tensors"
    files = json.loads(said("gguf", "hash", model, other, "--json")[1])["files"]
    assert [file["path"] for file in files] == [str(model), str(other)] and files[1]["tensors"] == want


def test_path_shows_control_characters_on_a_terminal(said: Said, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = Path(shutil.copy(model, model.with_name("a\x1b[2Jb.gguf")))
    assert said("path", odd) == (0, f"{odd}\n", "")
    monkeypatch.setattr("llmlocal.cli.ui.terminal.is_terminal", lambda: True)
    assert said("path", odd)[1] == f"{odd}\n".replace("\x1b", r"\x1b")


def test_verify_a_file_of_ones_own(said: Said, model: Path, tmp_path: Path) -> None:
    """Structure, sizes and numbers; nobody is told to remove it."""
    code, out, err = said("verify", model)
    assert (code, err) == (0, "") and out.startswith(f"ok: {model}")
    cut, odd = tmp_path / "cut.gguf", tmp_path / "odd.gguf"
    cut.write_bytes(model.read_bytes()[:-100])
    write_small(odd, Small("llama", 2, 64, 96), bad={"blk.1.ffn_up.weight": float("nan")})
    for path, what in ((cut, "100 bytes short"), (odd, "'blk.1.ffn_up.weight' contains NaN")):
        code, out, err = said("verify", model, path)
        assert code == 5 and f"damaged: {path}" in out and what in out and f"ok: {model}" in out
        assert "1 file damaged" in err and "delete" not in err and "pull" not in err
    assert said("verify", tmp_path / "none.gguf")[0] == 3
    code, _, err = said("verify", tmp_path)
    assert code == 2 and "is a folder, not a GGUF file" in err and "llmlocal show" in err


def test_nothing_is_written_over_unasked(said: Said, model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"mine")
    assert said("gguf", "set", model, "a", "b", "-o", other)[0] == 2
    assert said("gguf", "merge", model, "-o", model, "--force")[0] == 2
    assert other.read_bytes() == b"mine"
    assert said("gguf", "set", model, "a", "b", "-o", other, "--force")[0] == 0


def test_no_part_that_is_read_is_overwritten(said: Said, model: Path, tmp_path: Path) -> None:
    """Merge, quantize, imatrix, set and run read every part of a split model; links to a part count, too."""
    assert said("gguf", "split", model, "16K", "-o", tmp_path / "m", "-q")[0] == 0
    first, *later = sorted(tmp_path.glob("m-*"))
    link, value, text = tmp_path / "link.gguf", tmp_path / "value.txt", tmp_path / "text.txt"
    link.hardlink_to(later[-1])
    value.write_text("x"), text.write_text("x")
    commands = [
        ("gguf", "merge", first, "--force", "-o"),
        ("gguf", "set", first, "general.name", "x", "--force", "-o"),
        ("quantize", first, "Q8_0", "--force"),
        ("imatrix", first, text, "--force", "-o"),
        ("run", first, "hello", "--force", "--no-stdin", "-o"),
    ]
    for name, *words in commands:
        for out in (first, *later, link):
            call = [name, words[0], out, *words[1:]] if name == "quantize" else [name, *words, out]
            before = out.read_bytes()
            code, stdout, error = said(*call)
            assert (code, stdout) == (2, "") and "would be overwritten" in error, (call, error)
            assert out.read_bytes() == before
    others = [
        ("gguf", "set", model, "general.name", f"@{value}", "--force", "-o", value),
        ("imatrix", model, text, "--force", "-o", text),
        ("quantize", model, text, "Q8_0", "--force", "--imatrix", text),
        ("run", model, "hello", "--no-stdin", "--force", "-f", text, "-o", text),
        ("run", model, "hello", "--no-stdin", "--force", "--template", text, "-o", text),
    ]
    for call in others:
        code, _, error = said(*call)
        assert code != 0 and (text.read_text(), value.read_text()) == ("x", "x"), call
        assert "would be overwritten" in error or "--imatrix" in call, (call, error)
