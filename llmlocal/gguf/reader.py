"""Strict reader of GGUF versions 2 and 3 over a memory mapping: a valid file, or an error that names the fault.

Reads the container only, independent of what keys mean to a model; imports neither NumPy nor Numba.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import error as StructError
from typing import Any

from ..errors import BadFileError, NotFoundError, ResourceError
from ..files import mapped
from ..files.lfs_pointer import BEGINNING, check_no_pointer
from ..quant.tensor import QTensor
from ..text import escaped, shown
from . import limits, split
from .header_cursor import HeaderCursor, ShortHeaderError
from .layout import FETCH_AGAIN, Record, check_version, place, supported_format
from .pages import address_of, drop_pages, prefer_large_pages, runs
from .values import (
    ALIGNMENT_KEY,
    DEFAULT_ALIGNMENT,
    HEADER,
    MAGIC,
    Array,
    ValueType,
    padded,
)

LEAST_ENTRY = 13  # bytes of the smallest metadata record: length, type, one byte
LEAST_TENSOR = 24  # bytes of the smallest tensor record: length, dimensions, type, offset


def open_gguf(path: str | os.PathLike[str]) -> GGUFFile:
    """Open a GGUF file and, where it is the first part of a split model, all the other parts in its folder.

    Raises BadFileError for an invalid or incomplete file, NotFoundError where it does not exist.
    """
    file = GGUFFile(path)
    try:
        with _errors_name(file.path):
            names = split.later_parts(file.path.name, file.metadata)
            for number, name in enumerate(names, start=2):
                if not file.path.with_name(name).exists():
                    raise BadFileError(f"part {number} of {len(names) + 1} is missing: {escaped(name)}", FETCH_AGAIN)
        for name in names:
            file._join(GGUFFile(file.path.with_name(name)))
        if names:
            with _errors_name(file.path):
                split.check_total(file.metadata, len(file.tensors))
    except BaseException:
        file.close()
        raise
    return file


class Metadata(Mapping[str, Any]):
    """Keys and values in the order of the file: int, float, bool, str, or a lazy `Array`.

    Bytes of strings that are not UTF-8 read as U+FFFD; `raw` has them as stored.
    """

    def __init__(self, values: dict[str, tuple[ValueType, Any]]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        kind, value = self._values[key]
        return str(value, "utf-8", "replace") if kind is ValueType.STRING else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def raw(self) -> dict[str, tuple[ValueType, Any]]:
        """Type and value by key, strings as memoryviews, so that the writer can copy them unchanged."""
        return dict(self._values)


class GGUFFile:
    """A valid GGUF file, memory-mapped. The constructor opens one file; `open_gguf` also joins a split model's parts.

    `tensors` are views of the mapping by name, in the order of the file; `types` the value types of the metadata;
    `state` the file's size and times when it was mapped; `trailing_bytes` the number of unused bytes at its end.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises BadFileError, NotFoundError, or ResourceError where the mapping is refused for lack of memory."""
        self.path = Path(path)
        self.tensors: dict[str, QTensor] = {}
        self._parts: list[GGUFFile] = []
        self._map, self.state = _mapped(self.path)
        self._view = memoryview(self._map)
        self._values: dict[str, tuple[ValueType, Any]] = {}
        self.metadata = Metadata(self._values)
        try:
            with _errors_name(self.path):
                self._parse()
        except BaseException:
            self.close()
            raise

    @property
    def types(self) -> dict[str, ValueType]:
        """The value type of every key; an array's element type is its own `type`."""
        return {key: kind for key, (kind, _) in self._values.items()}

    def close(self) -> None:
        """Release the mapping and all views of it; later use of a view raises ValueError.

        Memory that a NumPy array still refers to stays mapped until the array is deleted.
        """
        for part in self._parts:
            part.close()
        views = [tensor.data for tensor in self.tensors.values()]
        for _, value in self._values.values():
            if isinstance(value, Array | memoryview):
                views.append(value.raw if isinstance(value, Array) else value)
        for view in (*views, self._view):
            with suppress(BufferError):
                view.release()
        with suppress(BufferError):
            self._map.close()

    def files(self) -> Iterator[tuple[Path, os.stat_result, memoryview]]:
        """Path, state when it was mapped, and content of the file and of the other parts of a split model."""
        for file in (self, *self._parts):
            yield file.path, file.state, file._view

    def mappings(self) -> list[mmap.mmap]:
        """The mappings of the file and of the other parts of a split model."""
        return [file._map for file in (self, *self._parts)]

    def place_of(self, tensor: QTensor) -> tuple[Path, int]:
        """The file that holds a tensor, perhaps another part of a split model, and the tensor's first byte there."""
        for file in (self, *self._parts):
            first = tensor.address - address_of(file._map)
            if 0 <= first < len(file._view):
                return file.path, first
        raise ValueError(f"{tensor.name} is not in this file")

    def prefer_large_pages(self, *, again: bool) -> None:
        """Ask for large pages, which make reading all weights faster and reading a few bytes slower.

        `again`: read the file into the page cache again where it lies there in small pieces and that is cheap.
        """
        for file in (self, *self._parts):
            prefer_large_pages(file._map, file.path if again else None)

    def forget(self, *tensors: QTensor) -> None:
        """Return the pages of tensors, and the few between them, to the system; a later access reads them again."""
        for start, end in runs((tensor.address, tensor.address + tensor.nbytes) for tensor in tensors):
            for map in self.mappings():
                drop_pages(map, start, end - start)

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _parse(self) -> None:
        size = len(self._view)
        self.version, self.alignment, records, start = _read_tables(self._view, size, self._values)
        spans = place(list(records.values()), start, self.alignment, size)
        for record, (first, end) in zip(records.values(), spans, strict=True):
            shape = record.dims[::-1] or (1,)  # no dimensions: one value
            self.tensors[record.name] = QTensor(record.name, supported_format(record), shape, self._view[first:end])
        self.trailing_bytes = max(0, size - padded(spans[-1][1] if spans else start, self.alignment))

    def _join(self, part: GGUFFile) -> None:
        """Add the next part of a split model, which is then closed with this file."""
        self._parts.append(part)
        with _errors_name(part.path):
            split.check_part(len(self._parts), self._values, part._values)
            for name in part.tensors:
                if name in self.tensors:
                    raise BadFileError(f"duplicate tensor {shown(name)}: it is also in an earlier part")
            if len(self.tensors) + len(part.tensors) > limits.MAX_TENSORS:
                raise BadFileError(f"more than {limits.MAX_TENSORS} tensors in all parts")
        self.tensors.update(part.tensors)
        self.trailing_bytes += part.trailing_bytes


def header_size(head: bytes, size: int) -> int | None:
    """Offset of the tensor data in a file of `size` bytes that begins with `head`; None where `head` is too short.

    Raises BadFileError for a fault within `head`.
    """
    try:
        return _read_tables(memoryview(head), size, {})[-1]
    except (StructError, ShortHeaderError):
        return None


def _read_tables(
    view: memoryview, size: int, values: dict[str, tuple[ValueType, Any]]
) -> tuple[int, int, dict[str, Record], int]:
    """Version, alignment, tensor records and offset of the tensor data of a file of `size` bytes; fills `values`.

    Raises StructError or ShortHeaderError where the view is only the beginning of the file and ends within the header.
    """
    version, n_tensors, n_entries = _read_header(view, size)
    cursor = HeaderCursor(view, HEADER.size, size)
    for i in range(n_entries):
        cursor.read_entry(i, values)
    alignment = _alignment(values)
    records: dict[str, Record] = {}
    for i in range(n_tensors):
        record = cursor.read_record(i)
        if record.name in records:
            raise BadFileError(f"duplicate tensor {shown(record.name)}")
        records[record.name] = record
    return version, alignment, records, padded(cursor.position, alignment)


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Prefix a BadFileError with the file's name."""
    try:
        yield
    except BadFileError as error:
        raise BadFileError(f"{escaped(str(path))}: {error}", error.hint) from None


def _file_in(path: Path) -> str:
    """What to do with a folder: a GGUF file in it may be named."""
    with suppress(OSError):
        names = sorted(each.name for each in path.iterdir() if each.suffix == ".gguf")[:2]
        if names:
            name = escaped(str(path / names[0]))
            return f"name a file in it, such as {name}" if len(names) > 1 else f"name the file in it: {name}"
    return "name a file in it, or a model of llmlocal list"


def _no_file(path: Path, where: str) -> tuple[str, str]:
    """What is wrong with a folder, a pipe or a device in the place of a file, and what to do."""
    if (path / "config.json").is_file():
        return f"{where}: is a Hugging Face folder, not a GGUF file", "llmlocal convert FOLDER model.gguf makes one"
    if (path / "adapter_config.json").is_file():
        return f"{where}: is an adapter, not a model", "llmlocal run MODEL --lora FOLDER adds it to its model"
    if path.is_dir():
        return f"{where}: is a folder, not a GGUF file", _file_in(path)
    return f"{where}: is not a regular file", ""


def _mapped(path: Path) -> tuple[mmap.mmap, os.stat_result]:
    """Map the whole file for reading; its state was taken before."""
    where = escaped(str(path))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: a pipe would wait for a writer
            raise BadFileError(*_no_file(path, where))
        with open(path, "rb") as file:
            state = os.fstat(file.fileno())
            if not state.st_size:
                raise BadFileError(f"{where}: file is empty, not a GGUF model", FETCH_AGAIN)
            mapped.announce()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), state
    except (FileNotFoundError, NotADirectoryError):
        from ..files.near_files import did_you_mean

        raise NotFoundError(f"{where}: no such file", did_you_mean(str(path))) from None
    except ValueError:
        raise NotFoundError(f"{where}: invalid file name") from None
    except OSError as error:
        kind = ResourceError if error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE) else BadFileError
        raise kind(f"{where}: cannot be read: {error.strerror}") from None


def _read_header(view: memoryview, size: int) -> tuple[int, int, int]:
    """Version, number of tensors and number of metadata entries, checked to fit the file's size."""
    head = bytes(view[: HEADER.size])
    if size < len(MAGIC):
        raise BadFileError(f"only {size} bytes, too short for a GGUF header ({HEADER.size})", FETCH_AGAIN)
    check_no_pointer(bytes(view[: len(BEGINNING)]))
    if head[:4] != MAGIC:
        raise BadFileError(f"not a GGUF file (starts with {shown(head[:4].decode('ascii', 'backslashreplace'))})")
    if size >= 8:
        check_version(int.from_bytes(head[4:8], "little"))
    if size < HEADER.size:
        raise BadFileError(f"header is cut at byte {size} of {HEADER.size}", FETCH_AGAIN)
    _, version, n_tensors, n_entries = HEADER.unpack(head)
    left = size - HEADER.size
    for count, what, least, most in (
        (n_tensors, "tensors", LEAST_TENSOR, limits.MAX_TENSORS),
        (n_entries, "metadata entries", LEAST_ENTRY, limits.MAX_ENTRIES),
    ):
        if count * least > left:
            raise BadFileError(f"{count} {what} cannot fit in {left} bytes", FETCH_AGAIN)
        if count > most:
            raise BadFileError(f"{count} {what}, at most {most}")
    return version, n_tensors, n_entries


def _alignment(values: dict[str, tuple[ValueType, Any]]) -> int:
    """Alignment of tensor data in bytes, a power of two."""
    kind, value = values.get(ALIGNMENT_KEY, (ValueType.U32, DEFAULT_ALIGNMENT))
    if kind is not ValueType.U32:
        raise BadFileError(f"{ALIGNMENT_KEY} must be u32, is {kind.label}")
    if not 1 <= value <= 65_536 or value & (value - 1):
        raise BadFileError(f"alignment {value} is not a power of two in 1..65536")
    return int(value)
