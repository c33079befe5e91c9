"""Models held in memory as what their files are made of, so that any entry or tensor of one can be another."""

from __future__ import annotations

from math import prod
from pathlib import Path
from random import Random
from typing import NamedTuple

from fuzzing import damaged
from gguf_bytes import ARRAY, BOOL, CODES, F32, STRING, container, entry, record

from llmlocal.gguf import GGUFFile, open_gguf
from llmlocal.gguf.header_cursor import HeaderCursor
from llmlocal.gguf.reader import Metadata
from llmlocal.gguf.values import HEADER, TENSOR_TYPES, padded

ALIGNMENT = 32
WHOLE = [0, 1, 2, 3, 7, 8, 64, 255, 2**16, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1]
FLOATS = [0.0, -0.0, 1e-45, 1e-30, 0.5, 1e30, float("inf"), float("-inf"), float("nan")]
TEXTS: list[str | bytes] = ["", "x", "llama", "a\nb\x1b[2J", b"\xff\xfe", "y" * 3000]
DIMS = [0, 1, 2, 31, 33, 64, 2**20, 2**31, 2**40]


class Tensor(NamedTuple):
    """Name, GGUF's dimensions and type."""

    name: str
    dims: tuple[int, ...]
    kind: int

    @property
    def nbytes(self) -> int:
        _, block, nbytes = TENSOR_TYPES[self.kind]
        return prod(self.dims) // block * nbytes


class Parts(NamedTuple):
    """The entries of a file by key, as bytes, and its tensors."""

    entries: dict[str, bytes]
    tensors: tuple[Tensor, ...]

    @classmethod
    def of(cls, path: Path) -> Parts:
        """What the file at `path` is made of."""
        with open_gguf(path) as gguf:
            cursor, entries = HeaderCursor(gguf._view, HEADER.size, len(gguf._view)), {}
            for i, key in enumerate(gguf.metadata):
                before = cursor.position
                cursor.read_entry(i, {})
                entries[key] = bytes(gguf._view[before : cursor.position])
            tensors = (Tensor(t.name, t.shape[::-1], t.format.id) for t in gguf.tensors.values())
            return cls(entries, tuple(tensors))

    def written(self, most: int = 1 << 22) -> bytes:
        """The file, whose tensors are zeros; it is cut where it has more than `most` bytes."""
        at, records = 0, []
        for tensor in self.tensors:
            records.append(record(tensor.name, [*tensor.dims], tensor.kind, at % 2**64))
            at = padded(at + tensor.nbytes, ALIGNMENT)
        return container([*self.entries.values()], records, bytes(min(at, most)))

    def changed(self, rng: Random) -> Parts:
        """With an entry or a tensor that is another, is missing or is new."""
        if not self.tensors or rng.random() < 0.7:
            key, how = rng.choice(list(self.entries)), rng.random()
            rest = {name: data for name, data in self.entries.items() if name != key}
            other = damaged(self.entries[key], rng) if how < 0.4 else hostile(key, rng)
            return Parts(rest if how > 0.9 else {**rest, key: other}, self.tensors)
        at = rng.randrange(len(self.tensors))
        name, dims, kind = self.tensors[at]
        how = rng.randrange(5)
        if how == 0:
            kind = rng.choice(list(TENSOR_TYPES))
        elif how == 1:
            name = rng.choice([name + "x", self.tensors[at - 1].name, "blk.99." + name, "output.weight"])
        elif how == 2:
            dims = tuple(rng.choice(DIMS) if rng.random() < 0.5 else n for n in dims)
        elif how == 3:
            dims = rng.choice([dims[::-1], (*dims, 1), (*dims, 2), dims[:-1]])
        new = () if how == 4 else (Tensor(name, dims, kind),)
        return Parts(self.entries, (*self.tensors[:at], *new, *self.tensors[at + 1 :]))


def hostile(key: str, rng: Random) -> bytes:
    """An entry of any type."""
    kind = rng.choice([STRING, ARRAY, BOOL, F32, *CODES])
    if kind == ARRAY:
        inner = rng.choice([STRING, *CODES])
        return entry(key, ARRAY, (inner, [_value(inner, rng) for _ in range(rng.choice([0, 1, 2, 3, 40]))]))
    return entry(key, kind, _value(kind, rng))


def _value(kind: int, rng: Random) -> object:
    if kind == STRING:
        return rng.choice(TEXTS)
    code = CODES[kind]
    if code in "fd":
        return rng.choice(FLOATS)
    if kind == BOOL:
        return rng.randrange(2)
    bits = {"b": 8, "h": 16, "i": 32, "q": 64}.get(code.lower(), 8)
    value = rng.choice(WHOLE) % (1 << bits)
    return value - (1 << bits) if code.islower() and value >> (bits - 1) else value


class HeldModel(GGUFFile):
    """A file of these bytes, checked as one that is opened; `path` is where it would lie."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.path, self.tensors, self._parts = path, {}, []
        self._view, self._values = memoryview(data), {}
        self.metadata = Metadata(self._values)
        self._parse()

    def close(self) -> None:
        """Nothing is mapped."""
