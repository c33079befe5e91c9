"""A strict reader of one safetensors file. Reads only the rows it is asked for, so memory stays bounded.

The file is the header's length, a JSON header (type, shape and byte offsets by name), and the data. As in the
reference implementation the offsets must cover the data without gaps and overlaps.

The safetensors package is not used: it maps whole files, and has no BF16 for NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError
from ..files.lfs_pointer import BEGINNING, check_no_pointer
from ..gguf.values import U64
from ..text import escaped, shown
from .json_file import parse_object
from .streams import Stream, Values

MAX_HEADER = 100_000_000  # bytes, as in the reference
MAX_TENSORS = 1 << 18  # with every expert a tensor of its own, the largest models have some 100,000
MAX_DIMS = 8
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "BOOL": 1}
SIZES |= {f"{sign}{bits}": bits // 8 for sign in "IU" for bits in (8, 16, 32, 64)}
# Formats of streams by stored type. Every value of FP8 is an F16, too, and every power of two in F8_E8M0 a BF16.
STREAM_FORMATS = {"F64": "F32", "F32": "F32", "F16": "F16", "BF16": "BF16"}
STREAM_FORMATS |= {"F8_E4M3": "F16", "F8_E5M2": "F16", "F8_E8M0": "BF16"}
AGAIN = "download the file again"
UNQUANTIZED = "convert the original, unquantized model"


class Safetensors:
    """An open file: `tensors` holds streams by name, in the order of the data. `close` it.

    Raises BadFileError where the file is damaged, and when rows are read that hold NaN or infinity.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed by `close`
        except OSError as error:
            raise BadFileError(f"{escaped(str(path))}: cannot be read: {error.strerror}") from error
        self._lock = Lock()
        try:
            self.tensors = dict(self._read_header())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; its streams cannot be read any more."""
        self._file.close()

    def _fail(self, what: str) -> BadFileError:
        return BadFileError(f"{escaped(str(self.path))}: {what}", AGAIN)

    def _read_header(self) -> Iterator[tuple[str, Stream]]:
        size = self._file.seek(0, 2)
        if size < 8:
            raise self._fail("is too short for a safetensors file")
        check_no_pointer(self._bytes(0, min(size, len(BEGINNING))).tobytes(), escaped(str(self.path)))
        (length,) = U64.unpack(self._bytes(0, 8).tobytes())
        if length > min(MAX_HEADER, size - 8):
            raise self._fail(f"header of {length} bytes in a file of {size}")
        header = parse_object(self._bytes(8, length).tobytes(), str(self.path))
        header.pop("__metadata__", None)
        if len(header) > MAX_TENSORS:
            raise self._fail(f"{len(header)} tensors, at most {MAX_TENSORS}")
        entries = [(name, *self._entry(name, entry)) for name, entry in header.items()]
        at = 0
        for name, dtype, shape, first, end in sorted(entries, key=lambda e: e[3:]):
            if first != at:
                raise self._fail(
                    f"tensor {shown(name)} {'overlaps the one before it' if first < at else 'leaves a gap'}"
                )
            at = end
            yield name, self._stream(name, dtype, shape, 8 + length + first)
        if 8 + length + at != size:
            raise self._fail(f"{size} bytes, its header describes {8 + length + at}")

    def _entry(self, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
        """Type, shape, first byte and end of a tensor's header entry, each checked."""
        match entry:
            case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(first), int(end)]}:
                pass
            case _:
                raise self._fail(f"tensor {shown(name)} needs dtype, shape and data_offsets")
        if any(type(n) is not int or not 0 <= n < 1 << 48 for n in shape) or len(shape) > MAX_DIMS:
            raise self._fail(f"tensor {shown(name)} has an impossible shape")
        if dtype not in SIZES:
            where = escaped(str(self.path))
            raise BadFileError(f"{where}: tensor {shown(name)} has unknown type {shown(dtype)}", UNQUANTIZED)
        need = prod(shape) * SIZES[dtype]
        if not 0 <= first <= end or end - first != need:
            raise self._fail(f"tensor {shown(name)} needs {need} bytes, its offsets are {first} to {end}")
        return dtype, tuple(shape) or (1,), first, end

    def _stream(self, name: str, dtype: str, shape: tuple[int, ...], at: int) -> Stream:
        row, rows = shape[-1] * SIZES[dtype], prod(shape[:-1])

        def read(first: int, end: int) -> Values:
            if not 0 <= first <= end <= rows:
                raise IndexError(f"rows {first} to {end} of {rows}")
            if dtype not in STREAM_FORMATS:
                where = escaped(str(self.path))
                raise BadFileError(f"{where}: tensor {shown(name)} is {dtype}, which is not a number", UNQUANTIZED)
            values = _floats(self._bytes(at + first * row, (end - first) * row), dtype)
            if not np.isfinite(values).all():
                raise self._fail(f"tensor {shown(name)} contains NaN or infinity")
            return values.reshape(end - first, shape[-1])

        def raw(first: int, end: int) -> Values:
            return self._bytes(at + first * row, (end - first) * row).reshape(end - first, row)

        blocks = None if dtype in STREAM_FORMATS else Stream((*shape[:-1], row), "U8", raw)
        return Stream(shape, STREAM_FORMATS.get(dtype, dtype), read, blocks)

    def _bytes(self, at: int, count: int) -> NDArray[np.uint8]:
        """`count` bytes from `at` on, fresh memory."""
        data = np.empty(count, np.uint8)
        view: memoryview[int] = memoryview(data)  # type: ignore[arg-type]  # NumPy's stubs know buffers from Python 3.12 on
        done = 0
        with self._lock:
            self._file.seek(at)
            while done < count:
                got = self._file.readinto(view[done:])
                if not got:
                    raise self._fail("was truncated while it was read")
                done += got
        return data


@cache
def e4m3_values() -> NDArray[np.float16]:
    """The numbers (256,) that bytes of FP8 E4M3 stand for (Micikevicius et al. 2022, arXiv 2209.05433)."""
    codes = np.arange(256)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    values = np.where(exponent > 0, np.ldexp(8.0 + mantissa, exponent - 10), np.ldexp(mantissa * 1.0, -9))
    values[codes & 127 == 127] = np.nan
    signed: NDArray[np.float16] = np.where(codes > 127, -values, values).astype(np.float16)
    return signed


def _floats(data: NDArray[np.uint8], dtype: str) -> Values:
    """Bytes as float16 where that holds them, else as float32."""
    if dtype == "F16":
        return data.view(np.float16)
    if dtype == "BF16":
        return (data.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype == "F8_E4M3":
        values: Values = e4m3_values()[data]
        return values
    if dtype == "F8_E5M2":
        return (data.astype(np.uint16) << np.uint16(8)).view(np.float16)
    if dtype == "F8_E8M0":
        return np.where(data == 255, np.nan, np.ldexp(1.0, data.astype(np.int32) - 127)).astype(np.float32)
    if dtype == "F64":
        with np.errstate(over="ignore"):
            return data.view(np.float64).astype(np.float32)
    return data.view(np.float32)
