"""What is written reads back the same, here and with the gguf package; a failed write leaves nothing behind."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
from collections import namedtuple
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocal.errors import LlmlocalError, NotFoundError, ResourceError
from llmlocal.files import atomic_file
from llmlocal.gguf import Array, GGUFWriter, TensorInfo, ValueType, open_gguf, write_gguf
from llmlocal.gguf.values import ALIGNMENT_KEY, STRUCTS
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.tensor import QTensor

load_all()
F32 = BY_NAME["F32"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def numbers(kind: ValueType) -> st.SearchStrategy[Any]:
    """Values that `kind` holds exactly."""
    if kind is ValueType.BOOL:
        return st.booleans()
    if kind in (ValueType.F32, ValueType.F64):
        return st.floats(width=32 if kind is ValueType.F32 else 64, allow_nan=False)
    bits = 8 * STRUCTS[kind].size
    signed = kind.name.startswith("I")
    return st.integers(-1 << (bits - 1), (1 << (bits - 1)) - 1) if signed else st.integers(0, (1 << bits) - 1)


def scalar(kind: ValueType) -> st.SearchStrategy[Any]:
    return TEXT if kind is ValueType.STRING else numbers(kind)


SCALARS = st.sampled_from([kind for kind in ValueType if kind is not ValueType.ARRAY])
VALUES = SCALARS.flatmap(
    lambda kind: st.tuples(st.just(kind), scalar(kind) | st.lists(scalar(kind), min_size=1, max_size=9))
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=15)
TENSORS = st.dictionaries(
    NAMES,
    st.tuples(
        st.sampled_from(sorted(BY_NAME.keys() - {"Q2_0"})),
        st.lists(st.integers(1, 3), max_size=3),
        st.integers(1, 3),
        st.integers(0, 99),
    ),
    max_size=4,
)


def made(name: str, kind: str, rows: list[int], blocks: int, seed: int) -> QTensor:
    """A tensor of random bytes."""
    form = BY_NAME[kind]
    info = TensorInfo(name, form, (*rows, blocks * form.block))
    return QTensor(name, form, info.shape, memoryview(random.Random(seed).randbytes(info.nbytes)))


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=8), TENSORS, st.sampled_from([None, 1, 8, 32, 4096]))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, metadata: dict[str, Any], sketches: dict[str, Any], alignment: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.gguf"
    tensors = [made(name, *sketch) for name, sketch in sketches.items()]
    write_gguf(path, metadata, tensors, alignment=alignment)
    with open_gguf(path) as file:
        assert (file.alignment, file.trailing_bytes) == (alignment or 32, 0)
        for key, (kind, value) in metadata.items():
            read = file.metadata[key]
            assert (read.tolist() if isinstance(read, Array) else read) == value
            assert (read.type if isinstance(read, Array) else file.types[key]) is kind
        assert len(file.metadata) == len(metadata) + (file.alignment != 32)
        assert list(file.tensors) == list(sketches)
        for tensor in tensors:
            read = file.tensors[tensor.name]
            assert (read.format, read.shape, bytes(read.data)) == (tensor.format, tensor.shape, bytes(tensor.data))
    if all(sketch[2] for sketch in sketches.values()):
        assert_the_gguf_package_agrees(path, metadata, tensors)


def assert_the_gguf_package_agrees(path: Path, metadata: dict[str, Any], tensors: list[QTensor]) -> None:
    oracle = gguf.GGUFReader(path)
    for key, (kind, value) in metadata.items():
        field = oracle.fields[key]
        assert int(field.types[-1]) == kind
        assert field.contents() == value
    assert [t.name for t in oracle.tensors] == [t.name for t in tensors]
    for theirs, ours in zip(oracle.tensors, tensors, strict=True):
        assert (int(theirs.tensor_type), tuple(theirs.shape.tolist())) == (ours.format.id, ours.shape[::-1])
        assert theirs.data.tobytes() == bytes(ours.data)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "BOOL"),
        (0, "U32"),
        (2**32 - 1, "U32"),
        (2**32, "U64"),
        (-1, "I32"),
        (-(2**31) - 1, "I64"),
        (1.0, "F32"),
        ("é", "STRING"),
        ([1, 2], "U32"),
        ([1, -2], "I32"),
        ([-1, 2**32], "I64"),
        ([1, 0.5], "F32"),
        ([True, False], "BOOL"),
        (("a", "b"), "STRING"),
        ((ValueType.I8, [1]), "I8"),
        ((ValueType.F64, 0.1), "F64"),
        ((ValueType.U8, []), "U8"),
    ],
)
def test_types_are_inferred_without_surprise(tmp_path: Path, value: Any, kind: str) -> None:
    write_gguf(tmp_path / "x.gguf", {"k": value}, [])
    with open_gguf(tmp_path / "x.gguf") as file:
        read = file.metadata["k"]
        assert (read.type if isinstance(read, Array) else file.types["k"]).name == kind


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"k": []}, "no GGUF type for nothing"),
        ({"k": None}, "no GGUF type for NoneType"),
        ({"k": ["a", 1]}, "no GGUF type for int, str"),
        ({"k": [True, 1]}, "no GGUF type for bool, int"),
        ({"k": [[1]]}, "no GGUF type for list"),
        ({"k": (ValueType.ARRAY, [1])}, "give the type of the elements"),
        ({"k": 2**64}, "too large for 64 bits"),
        ({"k": [-1, 2**64 - 1]}, "too large for 64 bits"),
        ({"k": (ValueType.U8, 256)}, "key 'k': "),
        ({"k": 1e300}, "key 'k': "),
        ({"": 1}, "name '' has 0 bytes"),
        ({"k" * 65_536: 1}, "has 65536 bytes, not 1..65535"),
        ({ALIGNMENT_KEY: 33}, "alignment 33 is not"),
        ({ALIGNMENT_KEY: -32}, "alignment -32 is not"),
    ],
)
def test_what_gguf_cannot_hold_is_refused_before_a_file_is_made(tmp_path: Path, metadata: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        write_gguf(tmp_path / "x.gguf", metadata, [])
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "infos",
    [
        [TensorInfo("t", F32, (4,)), TensorInfo("t", F32, (4,))],
        [TensorInfo("t" * 64, F32, (4,))],
        [TensorInfo("", F32, (4,))],
        [TensorInfo("t", F32, (1, 1, 1, 1, 1))],
        [TensorInfo("t", F32, ())],
        [TensorInfo("t", BY_NAME["Q8_0"], (33,))],
    ],
)
def test_infos_that_gguf_cannot_hold(tmp_path: Path, infos: list[TensorInfo]) -> None:
    with pytest.raises(ValueError):
        GGUFWriter(tmp_path / "x.gguf", {}, infos)


def test_alignment_is_agreed_on(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    with pytest.raises(ValueError, match="contradicts"):
        write_gguf(path, {ALIGNMENT_KEY: 64}, [], alignment=32)
    write_gguf(path, {ALIGNMENT_KEY: 64}, [made("a", "F32", [], 3, 0), made("b", "F32", [], 3, 0)])
    with open_gguf(path) as file:
        assert file.alignment == 64


def test_metadata_is_copied_byte_by_byte(tmp_path: Path) -> None:
    metadata = {"s": (ValueType.STRING, b"\xff"), "a": (ValueType.STRING, [b"\xfe", "x"]), "n": (ValueType.I8, [1, -1])}
    write_gguf(tmp_path / "x.gguf", metadata, [])
    with open_gguf(tmp_path / "x.gguf") as file:
        write_gguf(tmp_path / "y.gguf", file.metadata.raw(), [])
    assert (tmp_path / "x.gguf").read_bytes() == (tmp_path / "y.gguf").read_bytes()


def test_streaming_in_chunks(tmp_path: Path) -> None:
    infos = [TensorInfo("z", F32, (0, 4)), TensorInfo("a", F32, (2, 3)), TensorInfo("y", F32, (4, 0))]
    values = np.arange(6, dtype=np.float32)
    with GGUFWriter(tmp_path / "x.gguf", {}, infos) as writer:
        writer.write("z", b"")
        writer.write("a", values[:2])
        writer.write("a", values[2:].tobytes())
        size = writer.nbytes
    assert (tmp_path / "x.gguf").stat().st_size == size
    with open_gguf(tmp_path / "x.gguf") as file:
        assert file.tensors["a"].dequantize().tolist() == values.reshape(2, 3).tolist()
        assert [t.shape for t in file.tensors.values()] == [(0, 4), (2, 3), (4, 0)]


def test_a_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", {}, [])
    (tmp_path / "y").touch()
    assert stat.S_IMODE((tmp_path / "x.gguf").stat().st_mode) == stat.S_IMODE((tmp_path / "y").stat().st_mode)


def stream(path: Path, *steps: tuple[str, bytes] | BaseException) -> None:
    """Write tensors 'a' and 'b' of 32 bytes step by step."""
    with GGUFWriter(path, {"k": 1}, [TensorInfo("a", F32, (8,)), TensorInfo("b", F32, (8,))]) as writer:
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            writer.write(*step)


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([("a", bytes(32)), KeyboardInterrupt()], KeyboardInterrupt),
        ([("a", bytes(16)), RuntimeError("mid-way")], RuntimeError),
        ([("a", bytes(32))], ValueError),
        ([("a", bytes(33))], ValueError),
        ([("b", bytes(32))], ValueError),
        ([("a", bytes(32)), ("b", bytes(32)), ("c", bytes(1))], ValueError),
    ],
    ids=["interrupt", "exception", "incomplete", "too much", "wrong order", "after the last"],
)
@pytest.mark.parametrize("before", [None, b"the file that was there"])
def test_a_failed_write_leaves_no_trace(tmp_path: Path, before: bytes | None, steps: Any, error: Any) -> None:
    path = tmp_path / "x.gguf"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(error):
        stream(path, *steps)
    assert list(tmp_path.iterdir()) == ([path] if before else [])
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EFBIG])
def test_a_disk_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ResourceError) as caught:
        stream(tmp_path / "x.gguf", ("a", bytes(32)), ("b", bytes(32)))
    monkeypatch.undo()
    words = {errno.ENOSPC: "the disk is full", errno.EIO: "cannot be written", errno.EFBIG: "larger than is allowed"}
    assert words[code] in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_fills_up_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open
    monkeypatch.setattr(os, "open", lambda *_: opened("/dev/full", os.O_WRONLY))
    monkeypatch.setattr(atomic_file, "hold", lambda *_: True)
    with pytest.raises(ResourceError, match="the disk is full"):
        write_gguf(tmp_path / "x.gguf", {}, [made("a", "F32", [], 1 << 20, 0)])
    assert not list(tmp_path.iterdir())


def test_a_temporary_file_that_is_always_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_file, "hold", lambda *_: False)
    with pytest.raises(ResourceError, match="another program removes its temporary file"):
        write_gguf(tmp_path / "x.gguf", {}, [made("a", "F32", [], 16, 0)])
    assert not (tmp_path / "x.gguf").exists()


def test_too_little_space_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100))
    with pytest.raises(ResourceError, match=r"needs 192 bytes, the disk has 100 free"):
        stream(tmp_path / "x.gguf")


def test_no_such_folder_and_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such folder"):
        write_gguf(tmp_path / "none" / "x.gguf", {}, [])
    (tmp_path / "x.gguf").mkdir()
    with pytest.raises(LlmlocalError, match="cannot be written"):
        write_gguf(tmp_path / "x.gguf", {}, [])
    assert list(tmp_path.iterdir()) == [tmp_path / "x.gguf"]
