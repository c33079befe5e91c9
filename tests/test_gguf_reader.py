"""Legal GGUF files are read right: values, arrays, tensors, split models, and without NumPy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from struct import pack
from typing import Any

import gguf
import numpy as np
import pytest
from gguf_bytes import ARRAY, CODES, F32, I32, STRING, U8, U16, U32, container, entry, record, sample

from llmlocal.errors import BadFileError, LlmlocalError, NotFoundError
from llmlocal.gguf import Array, GGUFFile, ValueType, open_gguf
from llmlocal.gguf.values import REMOVED_TYPES, TENSOR_TYPES

DATA = Path(os.environ.get("LLMLOCAL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


def saved(folder: Path, data: bytes, name: str = "x.gguf") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_reading_needs_neither_numpy_nor_numba(tmp_path: Path) -> None:
    program = (
        "import sys, llmlocal.gguf.reader as r; f = r.open_gguf(sys.argv[1]); f.metadata['texts'].tolist(); f.close();"
        "print(sorted({'numpy', 'numba', 'gguf'} & set(sys.modules)))"
    )
    args = [sys.executable, "-c", program, str(saved(tmp_path, sample()))]
    assert subprocess.run(args, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_value_type(tmp_path: Path) -> None:
    with open_gguf(saved(tmp_path, sample())) as file:
        for kind in CODES:
            assert file.types[f"scalar.{kind}"] == kind
            assert file.metadata[f"scalar.{kind}"] == 1
            array = file.metadata[f"array.{kind}"]
            assert (array.type, len(array), array.tolist()) == (kind, 3, [0, 1, 1])
            assert (array[0], array[-1], array[1:], list(array)) == (0, 1, [1, 1], [0, 1, 1])
            assert file.types[f"array.{kind}"] is ValueType.ARRAY
        assert file.metadata["scalar.7"] is True
        assert type(file.metadata["scalar.6"]) is float
        assert list(file.metadata) == list(file.types)
        with pytest.raises(IndexError):
            array[3]


def test_strings_never_crash_and_keep_their_bytes(tmp_path: Path) -> None:
    data = container([entry("s", STRING, b"a\xff"), entry("t", ARRAY, (STRING, ["", b"\xff", "é"]))], [])
    with open_gguf(saved(tmp_path, data)) as file:
        assert file.metadata["s"] == "a\ufffd"
        assert bytes(file.metadata.raw()["s"][1]) == b"a\xff"
        texts = file.metadata["t"]
        assert texts.tolist() == list(texts) == texts[:] == ["", "\ufffd", "é"]
        assert texts.strings_as_bytes() == [b"", b"\xff", "é".encode()]


def test_numeric_arrays_are_views(tmp_path: Path) -> None:
    scores = [0.5, -1.0, 2.0]
    file = open_gguf(saved(tmp_path, container([entry("s", ARRAY, (F32, scores))], [])))
    array = file.metadata["s"]
    assert np.frombuffer(array.raw, "<f4").tolist() == scores
    with pytest.raises(TypeError, match="f32"):
        array.strings_as_bytes()
    file.close()


def test_tensors_are_views_in_numpy_order(tmp_path: Path) -> None:
    with open_gguf(saved(tmp_path, sample())) as file:
        assert {n: (t.format.name, t.shape, t.nbytes) for n, t in file.tensors.items()} == {
            "a": ("F32", (2, 32), 256),
            "b": ("Q8_0", (64,), 68),
            "c": ("F32", (1, 2, 1, 8), 64),
        }
        assert bytes(file.tensors["a"].data) == bytes(range(256))
        assert (file.version, file.alignment, file.trailing_bytes) == (3, 32, 0)


def test_closing_spares_arrays_in_use_and_ends_the_rest(tmp_path: Path) -> None:
    file = open_gguf(saved(tmp_path, sample()))
    kept, dropped = file.tensors["a"], file.tensors["b"]
    array = kept.bytes_array()
    file.close()
    file.close()
    assert array.ravel()[:4].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="released"):
        bytes(dropped.data)


@pytest.mark.parametrize(
    ("data", "tensors", "trailing"),
    [
        (container([], []), {}, 0),
        (container([], []) + b"tail" * 4, {}, 8),
        (container([], [record("a", [32, 0])]), {"a": (0, 32)}, 0),
        (container([], [record("a", [])], bytes(4)), {"a": (1,)}, 0),
        (container([], [record("a", [4])], bytes(32), version=2), {"a": (4,)}, 0),
        (container([], [record("a", [4])], bytes(37)), {"a": (4,)}, 5),
        (container([entry("general.alignment", U32, 8)], [record("a", [2])], bytes(8), alignment=8), {"a": (2,)}, 0),
    ],
    ids=["empty", "empty and tail", "no rows", "no dimensions", "version 2", "tail", "alignment 8"],
)
def test_legal_oddities_open(tmp_path: Path, data: bytes, tensors: dict[str, Any], trailing: int) -> None:
    with open_gguf(saved(tmp_path, data)) as file:
        assert {name: t.shape for name, t in file.tensors.items()} == tensors
        assert file.trailing_bytes == trailing


def test_no_file_a_folder_a_pipe_a_bad_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", Path("a\0b"), saved(tmp_path, b"") / "x"):
        with pytest.raises(NotFoundError):
            open_gguf(path)
    (empty := tmp_path / "empty").mkdir()
    named = f"name the file in it: {tmp_path / 'x.gguf'}"
    for folder, hint in ((empty, "name a file in it, or a model of llmlocal list"), (tmp_path, named)):
        with pytest.raises(BadFileError, match="is a folder, not a GGUF file") as raised:
            open_gguf(folder)
        assert raised.value.hint == hint
    saved(tmp_path, b"", "y.gguf")
    with pytest.raises(BadFileError, match="is a folder, not a GGUF file") as raised:
        open_gguf(tmp_path)
    assert raised.value.hint == f"name a file in it, such as {tmp_path / 'x.gguf'}"
    with pytest.raises(BadFileError, match="cannot be read"):
        open_gguf(tmp_path / ("n" * 300))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(BadFileError, match="not a regular file"):
            open_gguf(tmp_path / "pipe")


def test_a_large_vocabulary_opens(tmp_path: Path) -> None:
    n = 262_144
    tokens = b"".join(pack("<Q", 7) + b"%07d" % i for i in range(n))
    entries = [
        entry("tokens", ARRAY, (STRING, []))[:-8] + pack("<Q", n) + tokens,
        entry("scores", ARRAY, (F32, []))[:-8] + pack("<Q", n) + bytes(4 * n),
    ]
    path = saved(tmp_path, container(entries, []))
    with open_gguf(path) as file:
        assert file.metadata["tokens"][n - 1] == "0262143"


def test_the_table_of_types_is_ggufs() -> None:
    known = {int(t): (t.name, *sizes) for t, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {**known, 42: ("Q2_0", 64, 18)} == TENSOR_TYPES  # ggml.h has 42, the package does not yet
    assert not REMOVED_TYPES.keys() & TENSOR_TYPES.keys()
    assert {kind.value for kind in ValueType} == {kind.value for kind in gguf.GGUFValueType}


def parts(folder: Path, change: dict[int, dict[str, tuple[int, object]]] | None = None, count: int = 3) -> Path:
    """Three parts with a tensor each; `change` replaces keys of a part. The first part's path."""
    for i in range(count):
        keys: dict[str, tuple[int, object]] = {"split.no": (U16, i), "split.count": (U16, count)}
        keys |= {"split.tensors.count": (I32, count)} | ({"name": (STRING, "m")} if i == 0 else {})
        keys |= (change or {}).get(i, {})
        name = str(keys.pop("tensor", (0, f"t{i}"))[1])
        data = container([entry(k, *v) for k, v in keys.items()], [record(name, [8])], bytes([i] * 32))
        saved(folder, data, f"m-{i + 1:05d}-of-{count:05d}.gguf")
    return folder / f"m-00001-of-{count:05d}.gguf"


def test_the_first_part_opens_all(tmp_path: Path) -> None:
    with open_gguf(parts(tmp_path)) as file:
        assert [(name, bytes(t.data)[0]) for name, t in file.tensors.items()] == [("t0", 0), ("t1", 1), ("t2", 2)]
        assert file.metadata["name"] == "m"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: {"split.no": (U16, 2)}}, "split.no is not 1"),
        ({1: {"split.count": (U16, 4)}}, "key 'split.count' differs"),
        ({2: {"split.tensors.count": (I32, 4)}}, "key 'split.tensors.count' differs"),
        ({2: {"name": (STRING, "other")}}, "00003-of-00003.gguf: key 'name' differs"),
        ({2: {"name": (ARRAY, (U8, [1]))}}, "key 'name' differs"),
        ({2: {"tensor": (0, "t0")}}, "tensor 't0': it is also in an earlier part"),
        ({i: {"split.tensors.count": (I32, 7)} for i in range(3)}, "split.tensors.count is 7, the parts hold 3"),
        ({0: {"split.count": (STRING, "3")}}, "split.count is not an integer"),
        ({0: {"split.count": (U16, 513)}}, "split into 513 files, at most 512"),
        ({0: {"split.count": (U16, 4)}}, "is part 1 of 4, but not named <name>-00001-of-00004.gguf"),
        ({0: {"split.no": (U16, 3)}}, "split.no 3 is not in 0..2"),
        ({0: {"split.no": (U16, 1)}}, "is part 2 of 3, open m-00001-of-00003.gguf"),
    ],
)
def test_parts_that_do_not_agree(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(BadFileError) as caught:
        open_gguf(parts(tmp_path, change))
    assert message in str(caught.value)
    assert str(caught.value).count(".gguf: ") == 1


def test_parts_that_are_missing_damaged_or_later(tmp_path: Path) -> None:
    first = parts(tmp_path)
    second, third = (tmp_path / f"m-0000{i}-of-00003.gguf" for i in (2, 3))
    with pytest.raises(BadFileError, match=r"is part 3 of 3, open m-00001-of-00003\.gguf"):
        open_gguf(third)
    third.write_bytes(third.read_bytes()[:-1])
    with pytest.raises(BadFileError, match=r"m-00003-of-00003\.gguf: file is 1 byte short") as caught:
        open_gguf(first)
    assert str(caught.value).count(".gguf: ") == 1
    second.unlink()
    with pytest.raises(BadFileError, match="part 2 of 3 is missing"):
        open_gguf(first)


def test_a_split_into_one_file_is_whole(tmp_path: Path) -> None:
    open_gguf(parts(tmp_path, count=1).rename(tmp_path / "any.gguf")).close()


REAL = ["stories260K/stories260K-f16", "stories260K/stories260K-Q4_0", "vocab/ggml-vocab-llama-spm"]
REAL_SLOW = ["stories260K/stories260K-f32", "stories260K/stories260K-Q8_0"]
REAL_SLOW += [f"vocab/ggml-vocab-{n}" for n in ("bert-bge", "deepseek-llm", "gpt-2", "llama-bpe", "phi-3", "qwen2")]


@pytest.mark.parametrize("name", [*REAL, *(pytest.param(n, marks=pytest.mark.slow) for n in REAL_SLOW)])
def test_real_files_agree_with_the_gguf_package(name: str) -> None:
    path = DATA / f"{name}.gguf"
    if not path.exists():
        pytest.skip(f"no {path}: set LLMLOCAL_TEST_DATA")
    with open_gguf(path) as file:
        assert_agrees(file, gguf.GGUFReader(path))


def assert_agrees(file: GGUFFile, oracle: gguf.GGUFReader) -> None:
    """Keys, types, values and tensors are those that the gguf package finds."""
    fields = {key: field for key, field in oracle.fields.items() if not key.startswith("GGUF.")}
    assert list(file.metadata) == list(fields)
    for key, field in fields.items():
        mine = file.metadata[key]
        kinds = [file.types[key], mine.type] if isinstance(mine, Array) else [file.types[key]]
        assert kinds == [int(kind) for kind in field.types]
        assert (mine.tolist() if isinstance(mine, Array) else mine) == field.contents()
    assert list(file.tensors) == [tensor.name for tensor in oracle.tensors]
    for tensor in oracle.tensors:
        held = file.tensors[tensor.name]
        assert (held.format.id, held.shape[::-1]) == (int(tensor.tensor_type), tuple(tensor.shape.tolist()))
        assert bytes(held.data) == tensor.data.tobytes()


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123456\n")
    with pytest.raises(BadFileError, match=r"m\.gguf: a Git LFS pointer") as caught:
        open_gguf(path)
    assert "git lfs pull" in caught.value.hint


def test_every_error_is_one_line_with_an_exit_code(tmp_path: Path) -> None:
    path = saved(tmp_path, container([entry("\x1b[2J\n" + "k" * 99, U8, 1)] * 2, []), "\x1b]0;x.gguf")
    with pytest.raises(LlmlocalError) as caught:
        open_gguf(path)
    text = str(caught.value)
    assert text.isprintable() and "\\x1b[2J\\nkkk" in text and text.endswith("…'")
    assert caught.value.exit_code == 5
