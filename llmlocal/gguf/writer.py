"""Atomic writer of GGUF version 3: the whole file, or no trace of it. Streams; never holds more than one chunk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from struct import error as StructError
from struct import pack
from typing import TYPE_CHECKING, Any, NamedTuple

from ..files.atomic_file import AtomicFile, AtomicGroup
from ..quant.format import Format
from ..quant.tensor import QTensor
from ..text import shown
from . import limits
from .values import (
    ALIGNMENT_KEY,
    CODES,
    DEFAULT_ALIGNMENT,
    HEADER,
    MAGIC,
    STRUCTS,
    U32,
    U64,
    Array,
    ValueType,
    padded,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Chunk = bytes | bytearray | memoryview | NDArray[Any]

VERSION = 3
_INTEGERS = {
    ValueType.U32: range(1 << 32),
    ValueType.I32: range(-1 << 31, 1 << 31),
    ValueType.U64: range(1 << 64),
    ValueType.I64: range(-1 << 63, 1 << 63),
}


class TensorInfo(NamedTuple):
    """A tensor that a file will hold; `shape` in NumPy's order, its last dimension is cut into blocks."""

    name: str
    format: type[Format]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the data. Raises ValueError where the format's block does not divide a row."""
        count = self.format.row_bytes(self.shape[-1])
        for n in self.shape[:-1]:
            count *= n
        return count


def write_gguf(
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
    tensors: Iterable[QTensor],
    *,
    alignment: int | None = None,
) -> None:
    """Write tensors that are in memory or mapped to `path`. Arguments and errors as in `GGUFWriter`."""
    held = list(tensors)
    infos = [TensorInfo(t.name, t.format, t.shape) for t in held]
    with GGUFWriter(path, metadata, infos, alignment=alignment) as writer:
        for tensor in held:
            writer.write(tensor.name, tensor.data)


def packed_size(metadata: Mapping[str, Any], infos: list[TensorInfo]) -> int:
    """Size in bytes of the file that a writer would make. Raises as `GGUFWriter`."""
    return GGUFWriter("size.gguf", metadata, infos).nbytes


class GGUFWriter:
    """Context manager: `write` the tensors' bytes in the order of `infos`, in chunks of any size.

    `metadata` maps keys to values, or to (type, value) where the type matters; for a list the type is its elements'.
    By themselves int becomes the first of u32, i32, u64, i64 that holds it (a list: all of it), float f32, str and
    bytes string. `GGUFFile.metadata.raw()` copies a file's metadata unchanged. `alignment` in bytes is by default what
    the metadata says, else 32.

    The file appears under its name when the block ends (`files.atomic_file`). When an exception ends it, or before all
    data came, `path` is as it was. With a `group` it appears with the other files of the group.

    Raises ValueError or TypeError for what GGUF cannot hold, ResourceError where the disk is full or refuses,
    NotFoundError where there is no such folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        metadata: Mapping[str, Any],
        infos: Iterable[TensorInfo],
        *,
        alignment: int | None = None,
        group: AtomicGroup | None = None,
    ) -> None:
        self.path = Path(path)
        self._infos = list(infos)
        typed = {key: _typed(key, value) for key, value in metadata.items()}
        self._alignment = _agree_on_alignment(typed, alignment)
        self._header = _pack_header(typed, self._infos, self._alignment)
        self._sizes = [info.nbytes for info in self._infos]
        self._at, self._done = 0, 0  # current tensor, and bytes of it that are written
        self._out = AtomicFile(self.path, self.nbytes, group)

    @property
    def nbytes(self) -> int:
        """Size of the finished file in bytes."""
        return len(self._header) + sum(padded(n, self._alignment) for n in self._sizes)

    def __enter__(self) -> GGUFWriter:
        self._out.__enter__()
        try:
            self._out.write(self._header)
            self._skip_finished()
        except BaseException as error:
            self._out.__exit__(type(error))
            raise
        return self

    def write(self, name: str, chunk: Chunk) -> None:
        """The next bytes of tensor `name` (any C-contiguous buffer). Raises ValueError out of turn or past its end."""
        data = memoryview(chunk)  # type: ignore[arg-type]  # NumPy's stubs know buffers from Python 3.12 on
        if not data.nbytes:
            return
        if self._at == len(self._infos):
            raise ValueError(f"tensor {shown(name)} comes after the last one")
        info = self._infos[self._at]
        if name != info.name:
            raise ValueError(f"tensor {shown(name)} comes in the place of {shown(info.name)}")
        if self._done + data.nbytes > self._sizes[self._at]:
            raise ValueError(f"tensor {shown(name)} has {self._sizes[self._at]} bytes, more were given")
        self._out.write(data)
        self._done += data.nbytes
        self._skip_finished()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        incomplete = self._infos[self._at] if kind is None and self._at < len(self._infos) else None
        self._out.__exit__(ValueError if incomplete else kind)
        if incomplete:
            raise ValueError(f"tensor {shown(incomplete.name)} is not complete")

    def _skip_finished(self) -> None:
        """Pad the tensor that is complete, and move to the next one that has bytes."""
        while self._at < len(self._infos) and self._done == self._sizes[self._at]:
            self._out.write(bytes(padded(self._done, self._alignment) - self._done))
            self._at, self._done = self._at + 1, 0


def _agree_on_alignment(typed: dict[str, tuple[ValueType, Any]], alignment: int | None) -> int:
    """The alignment in bytes; written into the metadata where it is not the default."""
    said = typed.get(ALIGNMENT_KEY, (ValueType.U32, DEFAULT_ALIGNMENT if alignment is None else alignment))
    value = said[1]
    if said[0] is not ValueType.U32 or not 1 <= value <= 65_536 or value & (value - 1):
        raise ValueError(f"alignment {value} is not a u32 power of two in 1..65536")
    if alignment not in (None, value):
        raise ValueError(f"alignment {alignment} contradicts {ALIGNMENT_KEY} {value}")
    if value != DEFAULT_ALIGNMENT:
        typed[ALIGNMENT_KEY] = said
    return int(value)


def _pack_header(typed: dict[str, tuple[ValueType, Any]], infos: list[TensorInfo], alignment: int) -> bytes:
    """Everything before the tensor data, padded."""
    if len(typed) > limits.MAX_ENTRIES or len(infos) > limits.MAX_TENSORS:
        raise ValueError(f"at most {limits.MAX_ENTRIES} metadata entries and {limits.MAX_TENSORS} tensors")
    if len({info.name for info in infos}) != len(infos):
        raise ValueError("two tensors have the same name")
    out = bytearray(HEADER.pack(MAGIC, VERSION, len(infos), len(typed)))
    for key, (kind, value) in typed.items():
        out += _pack_name(key, limits.MAX_KEY) + U32.pack(kind)
        try:
            out += _pack(kind, value)
        except (StructError, OverflowError) as error:
            raise ValueError(f"key {shown(key)}: {error}") from None
    offset = 0
    for info in infos:
        if not 1 <= len(info.shape) <= limits.MAX_DIMS:
            raise ValueError(f"tensor {shown(info.name)} has {len(info.shape)} dimensions, not 1..{limits.MAX_DIMS}")
        dims = info.shape[::-1]
        out += _pack_name(info.name, limits.MAX_TENSOR_NAME)
        out += pack(f"<I{len(dims)}QIQ", len(dims), *dims, info.format.id, offset)
        offset += padded(info.nbytes, alignment)
    return bytes(out) + bytes(padded(len(out), alignment) - len(out))


def _pack_name(name: str, most: int) -> bytes:
    data = name.encode()
    if not 1 <= len(data) <= most:
        raise ValueError(f"name {shown(name)} has {len(data)} bytes, not 1..{most}")
    return U64.pack(len(data)) + data


def _typed(key: str, value: Any) -> tuple[ValueType, Any]:
    """(type, value) of a metadata entry; (ARRAY, (element type, elements)) of a list. Raises TypeError, ValueError."""
    match value:
        case (ValueType(), _):
            kind, value = value
        case Array():
            kind = ValueType.ARRAY
        case list() | tuple():
            kind = _inferred(key, value)
        case _:
            kind = _inferred(key, [value])
    if isinstance(value, Array):
        if kind not in (ValueType.ARRAY, value.type):
            raise TypeError(f"key {shown(key)}: an array of {value.type.label}, not {kind.label}")
        return ValueType.ARRAY, value
    if kind is ValueType.ARRAY:
        raise TypeError(f"key {shown(key)}: give the type of the elements")
    return (ValueType.ARRAY, (kind, value)) if isinstance(value, list | tuple) else (kind, value)


def _inferred(key: str, values: list[Any] | tuple[Any, ...]) -> ValueType:
    """The type that all of `values` can have."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return ValueType.BOOL
    if kinds and kinds <= {str, bytes, memoryview}:
        return ValueType.STRING
    if kinds in ({float}, {float, int}):
        return ValueType.F32
    if kinds == {int}:
        for kind, bounds in _INTEGERS.items():
            if min(values) in bounds and max(values) in bounds:
                return kind
        raise ValueError(f"key {shown(key)}: too large for 64 bits")
    names = ", ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
    raise TypeError(f"key {shown(key)}: no GGUF type for {names}; give it as (type, value)")


def _pack(kind: ValueType, value: Any) -> bytes:
    """A value's bytes, as `_typed` has prepared it."""
    if kind is ValueType.STRING:
        data = value.encode() if isinstance(value, str) else bytes(value)
        if len(data) > limits.MAX_STRING:
            raise ValueError(f"a string of {len(data)} bytes, at most {limits.MAX_STRING}")
        return U64.pack(len(data)) + data
    if kind is not ValueType.ARRAY:
        return STRUCTS[kind].pack(value)
    if isinstance(value, Array):
        return U32.pack(value.type) + U64.pack(len(value)) + value.raw
    element, items = value
    if len(items) > limits.MAX_ARRAY:
        raise ValueError(f"an array of {len(items)} elements, at most {limits.MAX_ARRAY}")
    head = U32.pack(element) + U64.pack(len(items))
    if element is ValueType.STRING:
        return head + b"".join(_pack(element, item) for item in items)
    return head + pack(f"<{len(items)}{CODES[element]}", *items)
