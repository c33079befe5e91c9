"""Reads the records of a GGUF header, metadata entries and tensors, one after the other; none may pass the end."""

from __future__ import annotations

import sys
from array import array
from struct import Struct
from struct import error as StructError
from typing import Any

from ..errors import BadFileError
from ..text import shown
from . import limits
from .layout import FETCH_AGAIN, Record
from .values import MANY, STRUCTS, U32, U64, Array, ValueType

ARRAY_HEAD = Struct("<IQ")
TENSOR_TAILS = [Struct(f"<{n}QIQ") for n in range(limits.MAX_DIMS + 1)]


class ShortHeaderError(Exception):
    """The view ends within the header, before the file does."""


class HeaderCursor:
    """A read position in the header that never passes the end of the file, which has `size` bytes."""

    __slots__ = ("position", "size", "view")

    def __init__(self, view: memoryview, position: int, size: int) -> None:
        self.view, self.position, self.size = view, position, size

    def unpack(self, form: Struct, what: str) -> tuple[Any, ...]:
        """Unpack numbers at the cursor. Raises BadFileError, naming `what`, where the file ends within them."""
        if form.size > self.size - self.position:
            raise BadFileError(f"{what} is cut at end of file", FETCH_AGAIN)
        values = form.unpack_from(self.view, self.position)
        self.position += form.size
        return values

    def take(self, count: int) -> memoryview:
        """The next `count` bytes; the caller has checked that they lie in the file."""
        self.position += count
        if self.position > len(self.view):
            raise ShortHeaderError
        return self.view[self.position - count : self.position]

    def read_name(self, what: str, most: int) -> str:
        """A key or a tensor's name: 1..most bytes of UTF-8."""
        (size,) = self.unpack(U64, what)
        if size > self.size - self.position:
            raise BadFileError(f"{what} length {size} passes the end of file", FETCH_AGAIN)
        if size > most:
            raise BadFileError(f"{what} is {size} bytes, at most {most}")
        if not size:
            raise BadFileError(f"{what} is empty")
        try:
            return str(self.take(size), "utf-8")
        except UnicodeDecodeError:
            raise BadFileError(f"{what} is not UTF-8") from None

    def read_entry(self, i: int, values: dict[str, tuple[ValueType, Any]]) -> None:
        """Metadata entry #i, added to `values`."""
        key = self.read_name(f"metadata key #{i}", limits.MAX_KEY)
        label = f"key {shown(key)}"
        if key in values:
            raise BadFileError(f"duplicate metadata {label}")
        (kind,) = self.unpack(U32, f"{label}: type")
        if kind == ValueType.STRING:
            values[key] = ValueType.STRING, self.take(self.string_size(label))
        elif kind == ValueType.ARRAY:
            values[key] = ValueType.ARRAY, self.read_array(label)
        elif kind in STRUCTS:
            at = self.position
            (value,) = self.unpack(STRUCTS[kind], f"{label}: value")
            if kind == ValueType.BOOL and self.view[at] > 1:
                raise BadFileError(f"{label}: {self.view[at]} is not a bool")
            values[key] = ValueType(kind), value
        else:
            raise BadFileError(f"{label} has unknown type {kind}")

    def string_size(self, label: str) -> int:
        """Read the length in bytes of the string at the cursor."""
        (size,) = self.unpack(U64, f"{label}: value")
        if size > self.size - self.position:
            raise BadFileError(f"{label}: string of {size} bytes passes the end of file", FETCH_AGAIN)
        if size > limits.MAX_STRING:
            raise BadFileError(f"{label}: string of {size} bytes, at most {limits.MAX_STRING}")
        return int(size)

    def read_array(self, label: str) -> Array:
        """Read an array after checking that its elements lie in the file; only strings are visited one by one."""
        kind, count = self.unpack(ARRAY_HEAD, f"{label}: value")
        if kind == ValueType.ARRAY:
            raise BadFileError(f"{label}: nested arrays are not allowed")
        if kind not in STRUCTS and kind != ValueType.STRING:
            raise BadFileError(f"{label} is an array of unknown type {kind}")
        least = U64.size if kind == ValueType.STRING else STRUCTS[kind].size
        if count * least > self.size - self.position:
            raise BadFileError(f"{label}: array of {count} elements passes the end of file", FETCH_AGAIN)
        if count > limits.MAX_ARRAY:
            raise BadFileError(f"{label}: array of {count} elements, at most {limits.MAX_ARRAY}")
        if kind == ValueType.STRING:
            ends = self.string_ends(label, count)
            return Array(ValueType.STRING, count, self.take(ends[-1] if ends else 0), ends)
        raw = self.take(count * least)
        if kind == ValueType.BOOL and bytes(raw).translate(None, b"\0\1"):
            raise BadFileError(f"{label}: an element is not a bool")
        return Array(ValueType(kind), count, raw)

    def string_ends(self, label: str, count: int) -> array[int]:
        """Where each of `count` strings with their length fields ends, from here. Opening a vocabulary is this loop."""
        read, rest = U64.unpack_from, self.view[self.position :]
        if count >= MANY and "numpy" in sys.modules:
            from .short_strings import short_string_ends

            found = short_string_ends(rest, count)
            if found and found[-1] <= limits.MAX_STRING:
                return found
        position, ends = 0, array("Q")
        add = ends.append
        try:
            for _ in range(count):
                position += U64.size + read(rest, position)[0]
                add(position)
        except (OverflowError, StructError):
            return self._checked_string_ends(label, count)
        if position > min(self.size - self.position, limits.MAX_STRING):
            return self._checked_string_ends(label, count)
        return ends

    def _checked_string_ends(self, label: str, count: int) -> array[int]:
        """As `string_ends`, where something may be wrong: each length is checked before it is used."""
        read, view, first, last = U64.unpack_from, self.view, self.position, self.size - U64.size
        position, ends = first, array("Q")
        for i in range(count):
            if position > last:  # no room for a length
                break
            (size,) = read(view, position)
            if size > limits.MAX_STRING:
                raise BadFileError(f"{label}: string #{i} of {size} bytes, at most {limits.MAX_STRING}")
            position += U64.size + size
            ends.append(position - first)
        else:
            if position <= self.size:
                return ends
        raise BadFileError(f"{label}: array of {count} elements passes the end of file", FETCH_AGAIN)

    def read_record(self, i: int) -> Record:
        """Read tensor record #i."""
        name = self.read_name(f"tensor #{i} name", limits.MAX_TENSOR_NAME)
        label = f"tensor {shown(name)}"
        (n_dims,) = self.unpack(U32, label)
        if n_dims > limits.MAX_DIMS:
            raise BadFileError(f"{label} has {n_dims} dimensions, at most {limits.MAX_DIMS}")
        *dims, kind, offset = self.unpack(TENSOR_TAILS[n_dims], label)
        return Record(name, tuple(dims), kind, offset)
