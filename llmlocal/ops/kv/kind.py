"""What a kind of cache is: how keys and values lie in memory, and the SIMD parts that write and read them.

A kind is one object in one file (`float`, `q8`). Importing it needs neither NumPy nor Numba, so that memory can
be told before anything runs. Cells are read 32 at a time, and a head's numbers are padded to whole stretches of 32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...quant.simd.instruction_set import InstructionSet

ALIGN = 32
Part = Callable[..., Any]
KINDS: dict[str, Kind] = {}


def padded(n: int) -> int:
    """`n` up to whole stretches: the numbers of a head in the cache, the cells of a sequence."""
    return -(-n // ALIGN) * ALIGN


@dataclass(frozen=True, slots=True)
class Parts:
    """How a kind's memory is written and read. Addresses are int64; `width` is padded(dim), rows are queries.

    `write_key(source, keys, cell, cells, dim)`, `write_value(...)`: `dim` float32 into a cell of one head's memory.
    `load_query(q, t, head, heads, dim, width, scale, target)`: one query times `scale`, in query_bytes(dim) bytes.
    `scores(keys, cell, width, queries, rows, count, points, stride)`: float32 points (rows, count), a row every
        `stride` bytes, of `count` keys from `cell` on; both are multiples of ALIGN.
    `mix(values, cell, cells, width, points, stride, rows, count, sums, sums_stride, spare)`: sums (rows, width) =
        points (rows, count) times values; `spare` is room for as many points.
    """

    write_key: Part
    write_value: Part
    load_query: Part
    scores: Part
    mix: Part


@dataclass(frozen=True, slots=True)
class Kind:
    """32 numbers take `number_bytes` each and `scale_bytes` together.

    `as_bytes` says that queries come as Q8 records, not as float32. A head's numbers are a multiple of `multiple`. In
    the memory of a head ALIGN keys lie together; values lie row by row, and behind them, if there are scales, those of
    the first 32 numbers of all cells, of the next 32, and so on.
    """

    name: str
    number_bytes: int
    scale_bytes: int
    as_bytes: bool
    parts: Callable[[InstructionSet], Parts]
    multiple: int = 1

    def __post_init__(self) -> None:
        KINDS[self.name] = self

    @property
    def stretch_bytes(self) -> int:
        """Bytes of 32 numbers."""
        return ALIGN * self.number_bytes + self.scale_bytes

    def cell_bytes(self, dim: int) -> int:
        """Bytes of `dim` numbers of one head."""
        return padded(dim) // ALIGN * self.stretch_bytes

    def query_bytes(self, dim: int) -> int:
        """Bytes of a query that is ready: 4 a number, or a line of 64 for 32 bytes."""
        return padded(dim) * (2 if self.as_bytes else 4)
