"""Sums the squared inputs of the matmuls in a recorded program, column by column.

An operation is recorded before each observed matmul; programs without an observer are unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..ops.column_squares import column_squares, column_squares_grouped
from ..quant.tensor import QTensor
from ..runtime.graph import Graph, MatrixStack, Value


@dataclass(slots=True)
class Columns:
    """The weights `names` with a common input: sums (experts, k) and counts (experts,) since the last drain.

    Each entry of `names` has the name of one tensor with all matrices, or a name for each matrix. Experts of a `group`
    in a row have one matrix together.
    """

    names: list[tuple[str, ...]]
    sums: NDArray[np.float32]
    counts: NDArray[np.int64]
    group: int = 1


@dataclass(slots=True)
class ColumnSums:
    """The observer of one program; `wanted` selects weights by name. A weight that is read in parts counts once."""

    wanted: Callable[[str], bool]
    watched: list[Columns] = field(default_factory=list)
    _identities: list[NDArray[np.int64]] = field(default_factory=list)

    def before_matmul(self, g: Graph, x: Value, weights: Sequence[QTensor]) -> None:
        """`weights` are about to read x (tokens, k)."""
        if (columns := self._columns([(w.name,) for w in weights], 1, weights[0].k)) is not None:
            g.add(
                column_squares,
                tokens=g.rows_of(x),
                x=x,
                sums=columns.sums.ctypes.data,
                counts=columns.counts.ctypes.data,
                k=weights[0].k,
            )

    def before_expert_matmul(
        self, g: Graph, x: Value, groups: Value, source: Value | None, stacks: Sequence[MatrixStack]
    ) -> None:
        """`stacks` (experts, rows, k) are about to read x: pair p its row source[p], or its row p."""
        count, _, k = stacks[0].shape
        if (columns := self._columns([stack.names for stack in stacks], count, k, stacks[0].group)) is not None:
            g.add(
                column_squares_grouped,
                groups=groups,
                source=source or self._identity(x.nbytes // (4 * k)),
                x=x,
                sums=columns.sums.ctypes.data,
                counts=columns.counts.ctypes.data,
                k=k,
            )

    def drain(self, add: Callable[[str, NDArray[np.float32], NDArray[np.int64]], None]) -> None:
        """Pass name, sums and counts of every weight to `add`, then reset them to 0."""
        for columns in self.watched:
            sums, counts = (np.add.reduceat(x, range(0, len(x), columns.group)) for x in (columns.sums, columns.counts))
            for names in columns.names:
                each = len(counts) // len(names)  # matrices of a tensor
                for i, name in enumerate(names):
                    own = slice(i * each, (i + 1) * each)
                    add(name, sums[own], counts[own])
            columns.sums[:], columns.counts[:] = 0, 0

    def _columns(self, weights: Sequence[tuple[str, ...]], experts: int, k: int, group: int = 1) -> Columns | None:
        known = {names for columns in self.watched for names in columns.names}
        names = [names for names in dict.fromkeys(weights) if self.wanted(names[0]) and names not in known]
        if not names:
            return None
        columns = Columns(names, np.zeros((experts, k), np.float32), np.zeros(experts, np.int64), group)
        self.watched.append(columns)
        return columns

    def _identity(self, rows: int) -> int:
        self._identities.append(np.arange(rows))
        return int(self._identities[-1].ctypes.data)
