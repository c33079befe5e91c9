"""What defines a type of KV cache: the layout of keys and values in memory, and the kernels that write and read them.

A type is one object, defined in one file (`float`, `q8`). Importing it needs neither NumPy nor Numba, so memory can be
estimated before anything runs. Cells are read ALIGN at a time, and heads are padded to multiples of ALIGN numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...quant.simd.instruction_set import InstructionSet

ALIGN = 32
KernelPart = Callable[..., Any]
KV_TYPES: dict[str, KVType] = {}


def padded(n: int) -> int:
    """`n` rounded up to a multiple of ALIGN: numbers of a head, or cells of a sequence."""
    return -(-n // ALIGN) * ALIGN


class Scores(NamedTuple):
    """A matrix (rows, keys) float32 of scores or weights: `rows` queries by `keys` keys.

    Each row has room for a multiple of ALIGN; what is beyond `keys` is written, but not multiplied with values.
    """

    address: int
    stride: int  # bytes from row to row
    rows: int
    keys: int


@dataclass(frozen=True, slots=True)
class KVKernels:
    """The parts of kernels that write and read a cache type. Addresses are int64; `width` is padded(dim).

    `write_key(source, keys, cell, cells, dim)`, `write_value(...)`: `dim` float32 to a cell of one head's memory.
    `load_query(q, t, head, heads, dim, width, scale, target)`: one query times `scale`, to query_bytes(dim) bytes.
    `multiply_keys(keys, cell, cells, width, queries, scores)`: scores = queries times the keys of as many cells from
        `cell` on, rounded up to a multiple of ALIGN.
    `multiply_values(values, cell, cells, row, width, weights, sums, sums_stride, spare, goes_on)`: sums (rows, width) =
        weights (`Scores`) times the first `width` numbers of values, `row` in all; if `goes_on`, they are added to
        sums, value by value. `spare` has room for another matrix of the size of `weights`.
    `multiply_rows(values, cell, cells, row, queries, scores)`: as `multiply_keys`, of what is stored as values are,
        and for float32 queries.
    """

    write_key: KernelPart
    write_value: KernelPart
    load_query: KernelPart
    multiply_keys: KernelPart
    multiply_values: KernelPart
    multiply_rows: KernelPart


@dataclass(frozen=True, slots=True)
class KVType:
    """A cache type: a block of ALIGN numbers takes `element_bytes` for each, and `scale_bytes`.

    `q8_queries`: queries are Q8 records instead of float32. The size of a head is a multiple of `head_multiple`.
    In the memory of a head, the keys of ALIGN cells lie together. Values lie row by row; after all rows follow the
    scales, if there are any: those of the first block of all cells, those of the second block, and so on.
    """

    name: str
    element_bytes: int
    scale_bytes: int
    q8_queries: bool
    kernels: Callable[[InstructionSet], KVKernels]
    head_multiple: int = 1

    def __post_init__(self) -> None:
        KV_TYPES[self.name] = self

    @property
    def block_bytes(self) -> int:
        """Bytes of ALIGN numbers."""
        return ALIGN * self.element_bytes + self.scale_bytes

    def cell_bytes(self, dim: int) -> int:
        """Bytes of `dim` numbers of one head."""
        return padded(dim) // ALIGN * self.block_bytes

    def query_bytes(self, dim: int) -> int:
        """Bytes of a query as `load_query` writes it: float32, or a cache line for 32 int8."""
        return padded(dim) * (2 if self.q8_queries else 4)
