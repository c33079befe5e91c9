"""No bytes whatever open as a file that is not legal, or fail other than in one line."""

from __future__ import annotations

import os
import random
import runpy
from fractions import Fraction
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from gguf_bytes import ARRAY, BOOL, I32, STRING, U8, U32, U64, container, entry, record, sample, string
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf
from llmlocal.gguf.layout import Record, tensor_span
from llmlocal.gguf.values import TENSOR_TYPES
from llmlocal.quant.format import BY_ID
from llmlocal.quant.formats import load_all

DATA = Path(os.environ.get("LLMLOCAL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
GENERATOR = DATA.parent / "malformed_gguf.py"
HUGE = (1 << 64) - 1
A = "general.alignment"


def raw(key: str | bytes, kind: int, data: bytes) -> bytes:
    return string(key) + pack("<I", kind) + data


def keyed(*entries: bytes, **claims: Any) -> bytes:
    return container(list(entries), [], **claims)


def one(dims: list[int], kind: int = 0, offset: int = 0, **more: Any) -> bytes:
    """A file with one tensor 't' and 4 KiB of data."""
    return container(more.pop("entries", []), [record(more.pop("name", "t"), dims, kind, offset)], bytes(4096))


ALIGNMENTS = {
    f"alignment {x}": (one([8], entries=[entry(A, U32, x)]), f"alignment {x} is not a power of two in 1..65536")
    for x in (0, 13, 1 << 17, 1 << 31)
}
CASES = {
    "empty": (b"", "file is empty"),
    "short": (b"GG", "only 2 bytes, too short for a GGUF header (24)"),
    "magic": (keyed(magic=b"\x1bGUF"), "not a GGUF file (starts with '\\x1bGUF')"),
    "version 0": (keyed(version=0), "bad GGUF version 0"),
    "version 1": (keyed(version=1), "version 1 is too old"),
    "version 4": (keyed(version=4), "version 4 is newer than supported (3)"),
    "big-endian": (b"GGUF" + pack(">IQQ", 3, 0, 0), "big-endian"),
    "header": (keyed()[:13], "header is cut at byte 13 of 24"),
    "tensor count": (keyed(entry("a", U8, 1), counts=(HUGE, 1)), f"{HUGE} tensors cannot fit in 14 bytes"),
    "entry count": (keyed(entry("a", U8, 1), counts=(0, 2)), "2 metadata entries cannot fit in 14 bytes"),
    "entry cap": (keyed(counts=(0, 65_537)) + bytes(13 * 65_537), "65537 metadata entries, at most 65536"),
    "key length": (keyed(pack("<Q", HUGE) + bytes(9)), f"metadata key #0 length {HUGE} passes the end of file"),
    "key cap": (keyed(entry("k" * 65_536, U8, 1)), "metadata key #0 is 65536 bytes, at most 65535"),
    "key empty": (keyed(entry("", U8, 1)), "metadata key #0 is empty"),
    "key UTF-8": (keyed(entry(b"\xff", U8, 1)), "metadata key #0 is not UTF-8"),
    "key twice": (keyed(entry("a", U8, 1), entry("a", U8, 2)), "duplicate metadata key 'a'"),
    "value type": (keyed(raw("a", 13, bytes(8))), "key 'a' has unknown type 13"),
    "value cut": (keyed(raw("a", U64, bytes(3))), "key 'a': value is cut at end of file"),
    "bool": (keyed(raw("a", BOOL, b"\2")), "key 'a': 2 is not a bool"),
    "bools": (keyed(entry("a", ARRAY, (BOOL, [0, 1, 2]))), "key 'a': an element is not a bool"),
    "element type": (keyed(raw("a", ARRAY, pack("<IQ", 99, 1))), "key 'a' is an array of unknown type 99"),
    "nested": (keyed(raw("a", ARRAY, pack("<IQ", ARRAY, 1) * 5000)), "key 'a': nested arrays are not allowed"),
    "array": (keyed(raw("a", ARRAY, pack("<IQ", U8, HUGE))), f"array of {HUGE} elements passes the end"),
    "strings": (keyed(raw("a", ARRAY, pack("<IQ", STRING, 3) + bytes(16))), "array of 3 elements passes the end"),
    "string in array": (keyed(raw("a", ARRAY, pack("<IQQQ", STRING, 2, 9, 0))), "array of 2 elements passes the end"),
    "long in array": (keyed(raw("a", ARRAY, pack("<IQQ", STRING, 1, HUGE))), f"string #0 of {HUGE} bytes, at most"),
    "string": (keyed(raw("a", STRING, pack("<Q", 4) + b"abc")), "key 'a': string of 4 bytes passes the end of file"),
    **ALIGNMENTS,
    "alignment i32": (one([8], entries=[entry(A, I32, 32)]), "general.alignment must be u32, is i32"),
    "name cap": (one([8], name="n" * 64), "tensor #0 name is 64 bytes, at most 63"),
    "name empty": (one([8], name=""), "tensor #0 name is empty"),
    "name UTF-8": (one([8], name=b"\xff"), "tensor #0 name is not UTF-8"),
    "name twice": (container([], [record("t", [8])] * 2, bytes(64)), "duplicate tensor 't'"),
    "dimensions": (one([1] * 5), "tensor 't' has 5 dimensions, at most 4"),
    "dimension": (one([1, HUGE]), "tensor 't' dimension 1 is out of range"),
    "record cut": (container([], [record("t", [1] * 4)])[:60], "tensor 't' is cut at end of file"),
    "elements": (one([1 << 33, 1 << 33]), f"tensor 't' needs {1 << 68} bytes, file has 4192"),
    "pad wrap": (one([4, (1 << 30) - 1, (1 << 30) + 1]), f"tensor 't' needs {(1 << 64) - 16} bytes, file has 4192"),
    "removed": (one([32], 4), "tensor 't' has removed type 4 (Q4_2)"),
    "i2_s": (one([32], 36), "tensor 't' has removed type 36 (IQ4_NL_4_4, or bitnet.cpp's I2_S)"),
    "unknown": (one([32], 999), "tensor 't' has unknown type 999"),
    "row": (one([100, 2], 12), "tensor 't': row of 100 is not a multiple of 256 (Q4_K)"),
    "offset": (one([8], 0, HUGE), "tensor 't' starts past the end of file"),
    "unaligned": (one([8], 0, 4), "tensor 't' offset 4 is not a multiple of 32"),
    "gap": (one([8], 0, 32), "tensor 't' offset 32 leaves a gap or is out of order"),
    "overlap": (container([], [record("t", [32]), record("u", [8], 0, 64)], bytes(128)), "tensors 't' and 'u' overlap"),
    "short by 1": (
        container([], [record("t", [8])], bytes(31)),
        "file is 1 byte short (95 of 96), download incomplete",
    ),
    "no data": (container([], [record("t", [32])]), "file is 128 bytes short (64 of 192), download incomplete"),
}


def refusal(path: Path) -> str:
    """The text behind the file's name. Fails where the file opens, or on more than one line."""
    with pytest.raises(BadFileError) as caught:
        open_gguf(path).close()
    text = str(caught.value)
    assert text.isprintable() and text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", CASES)
def test_refused_with_a_clear_line(name: str, tmp_path: Path) -> None:
    data, expected = CASES[name]
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    assert expected in refusal(path)


def test_a_type_without_a_format_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_all()
    monkeypatch.delitem(BY_ID, 8)
    (tmp_path / "x.gguf").write_bytes(one([32], 8))
    assert refusal(tmp_path / "x.gguf") == "tensor 't': type 8 (Q8_0) is not supported yet"


def test_the_shared_malformed_files(tmp_path: Path) -> None:
    """M41-M55 but M52 are legal containers with a wrong model inside: not for this layer to refuse."""
    if not GENERATOR.exists():
        pytest.skip(f"no {GENERATOR}: set LLMLOCAL_TEST_DATA")
    seen = 0
    for name, data in runpy.run_path(str(GENERATOR))["C"].items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(data)
        if name[0] == "M" and (int(name[1:3]) <= 40 or name.startswith("M52")):
            refusal(path)
            seen += 1
        else:
            open_gguf(path).close()
    assert seen == 41


def assert_lawful(path: Path) -> bool:
    """The file is refused in one line, or all its spans are inside and disjoint. True where it opens."""
    try:
        file = open_gguf(path)
    except BadFileError as error:
        assert str(error).isprintable()
        return False
    with file:
        base = memoryview(file._map)
        whole = address(base)
        spans = sorted((address(t.data), t.nbytes) for t in file.tensors.values() if t.nbytes)
        base.release()
        end = whole
        for first, size in spans:
            assert first >= end and (first - whole) % file.alignment == 0
            end = first + size
        assert end <= whole + path.stat().st_size
        for name in file.metadata:
            str(file.metadata[name])
    return True


def address(view: memoryview) -> int:
    import numpy as np

    return int(np.frombuffer(view, np.uint8).ctypes.data)


@settings(deadline=None)
@given(st.binary(max_size=4096), st.booleans(), st.integers(0, 3), st.integers(0, 3))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bool, tensors: int, keys: int) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    path.write_bytes((b"GGUF" + pack("<IQQ", 3, tensors, keys) if head else b"") + data)
    assert_lawful(path)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """1-4 edits: a bit flip, a splice, a number one more or less, a cut, a byte more or less."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(out) or 1)
        match rng.randrange(5):
            case 0 if out:
                out[i] ^= 1 << rng.randrange(8)
            case 1:
                j = rng.randrange(len(data))
                out[i : i + rng.randrange(40)] = data[j : j + rng.randrange(40)]
            case 2 if out:
                out[i] = (out[i] + rng.choice((-1, 1))) % 256
            case 3 if rng.random() < 0.2:
                del out[i:]
            case _:
                out[i:i] = b"\0" * rng.randrange(2)
                del out[i : i + rng.randrange(2)]
    return bytes(out)


@pytest.mark.parametrize("seed", range(5))
def test_mutations(tmp_path: Path, seed: int) -> None:
    rng, data, path, opened = random.Random(seed), sample(), tmp_path / "x.gguf", 0
    for _ in range(1000):
        path.write_bytes(mutated(data, rng))
        opened += assert_lawful(path)
    assert 0 < opened < 1000


def test_every_prefix_is_refused(tmp_path: Path) -> None:
    data, path = sample(), tmp_path / "x.gguf"
    for n in range(len(data)):
        path.write_bytes(data[:n])
        refusal(path)


EDGES = st.sampled_from([0, 1, 2**31 - 1, 2**31 + 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1])


@settings(deadline=None)
@given(st.lists(EDGES | st.integers(0, 4096), max_size=4), st.sampled_from(sorted(TENSOR_TYPES)), EDGES, EDGES)
def test_span_against_rationals(dims: list[int], kind: int, offset: int, start: int) -> None:
    name, block, nbytes = TENSOR_TYPES[kind]
    values = Fraction(1)
    for n in dims:
        values *= n
    legal = all(n < 2**63 for n in dims) and (dims[0] if dims else 1) % block == 0
    try:
        first, end = tensor_span(Record("t", tuple(dims), kind, offset), start)
    except BadFileError as error:
        assert not legal and ("out of range" in str(error) or name in str(error))
    else:
        assert legal
        assert (first, Fraction(end)) == (start + offset, start + offset + values / block * nbytes)
