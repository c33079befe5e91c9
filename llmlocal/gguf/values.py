"""GGUF constants: the 13 value types and their binary layout, lazy arrays, block sizes of all tensor types."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import pairwise
from struct import Struct, unpack_from
from typing import Any, overload

MAGIC = b"GGUF"
HEADER = Struct("<4sIQQ")  # magic, version, tensors, metadata entries
ALIGNMENT_KEY = "general.alignment"
DEFAULT_ALIGNMENT = 32
MANY = 1000  # strings, from which on NumPy finds them sooner; it is not loaded for them


class ValueType(IntEnum):
    """Type of a metadata value."""

    U8 = 0
    I8 = 1
    U16 = 2
    I16 = 3
    U32 = 4
    I32 = 5
    F32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    U64 = 10
    I64 = 11
    F64 = 12

    @property
    def label(self) -> str:
        return self.name.lower()


_SCALARS = [kind for kind in ValueType if kind.name not in ("STRING", "ARRAY")]
CODES: dict[ValueType, str] = dict(zip(_SCALARS, "BbHhIif?Qqd", strict=True))
STRUCTS = {kind: Struct("<" + code) for kind, code in CODES.items()}
U32, U64 = STRUCTS[ValueType.U32], STRUCTS[ValueType.U64]

# All tensor types of GGUF: name, values per block, bytes per block. A test compares it with the `gguf` package.
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}
REMOVED_TYPES = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4, or bitnet.cpp's I2_S",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}


def scalar(value: Any) -> Any:
    """A metadata value, or the one value that all elements of an array have: some files repeat it for each layer.

    Raises ValueError for an array of different values. An array without elements is None, as a missing key.
    """
    if not isinstance(value, Array | list):
        return value
    elements = list(value)
    if any(element != elements[0] for element in elements):
        raise ValueError("the elements differ")
    return elements[0] if elements else None


def padded(position: int, alignment: int) -> int:
    """`position` rounded up to a multiple of `alignment`."""
    return -(-position // alignment) * alignment


class Array(Sequence[Any]):
    """A metadata array that stays in the mapping; elements are decoded on access.

    `type` is the element type, `raw` the bytes as stored, not copied (each string preceded by its u64 length). Strings
    are decoded as UTF-8 with U+FFFD for invalid bytes; `strings_as_bytes` is exact.
    """

    __slots__ = ("_count", "_ends", "raw", "type")

    def __init__(self, kind: ValueType, count: int, raw: memoryview, ends: Sequence[int] = ()) -> None:
        """`ends` of strings: where in `raw` each of them ends."""
        self.type, self._count, self.raw, self._ends = kind, count, raw, ends

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"Array({self.type.label}, {self._count})"

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        i = range(self._count)[index]
        if self.type is not ValueType.STRING:
            form = STRUCTS[self.type]
            return form.unpack_from(self.raw, i * form.size)[0]
        start = 8 + (self._ends[i - 1] if i else 0)
        return str(self.raw[start : self._ends[i]], "utf-8", "replace")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def tolist(self, errors: str = "replace") -> list[Any]:
        """All elements as Python values; `errors` is what becomes of bytes in strings that are not UTF-8."""
        if self.type is not ValueType.STRING:
            return list(unpack_from(f"<{self._count}{CODES[self.type]}", self.raw))
        texts = self._joined().decode("utf-8", errors).split("\0") if self._count else []
        if len(texts) == self._count:  # one decoding of all is three times as fast
            return texts
        return [text.decode("utf-8", errors) for text in self.strings_as_bytes()]  # some contain a NUL

    def _joined(self) -> bytes:
        """The strings with a NUL between them."""
        if self._count >= MANY and isinstance(self._ends, array) and "numpy" in sys.modules:
            from .short_strings import joined

            return joined(self.raw, self._ends)
        return b"\0".join(self.strings_as_bytes())

    def strings_as_bytes(self) -> list[bytes]:
        """The strings exactly as stored, possibly invalid UTF-8. Raises TypeError for other element types."""
        if self.type is not ValueType.STRING:
            raise TypeError(f"the elements are {self.type.label}, not strings")
        data = bytes(self.raw)
        return [data[before + 8 : end] for before, end in pairwise((0, *self._ends))]
