"""A forward pass recorded once: kernels in order over values whose memory is planned when the recording ends.

A program serves every batch size: the number of tokens is read from a `Step`. Knows kernels by their fields only; knows
no architecture and no thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..quant.jit.linker import address_of
from ..quant.jit.parallel_compile import prepare
from ..quant.kernels.q8_activations import q8_bytes, quantize_q8

if TYPE_CHECKING:
    from ..quant.jit.kernel import Kernel
    from ..quant.tensor import QTensor

LINE = 64
AHEAD = 1 << 17  # bytes of the next weights that waiting threads fetch at most: what a short wait has time for


def aligned(nbytes: int) -> NDArray[np.uint8]:
    """Zeroed bytes that begin on a cache line; pages come from the system when they are first touched."""
    raw = np.zeros(nbytes + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + nbytes]


class Step:
    """What one run of a program reads besides weights: how many tokens, which, and where they go.

    `ids`, `positions`, `bases` (first cell of each token's sequence) and `cells` are int64 (ubatch,); `output_rows`
    int64 (max_outputs,) are the tokens whose logits are wanted.
    """

    def __init__(self, ubatch: int, max_outputs: int) -> None:
        self.counts = np.zeros(2, np.int64)
        self.ids, self.positions, self.bases, self.cells = (np.zeros(ubatch, np.int64) for _ in range(4))
        self.output_rows = np.zeros(max_outputs, np.int64)
        self.ubatch, self.max_outputs = ubatch, max_outputs
        self._multiples: dict[int, NDArray[np.int64]] = {}

    def count(self, tokens: int, outputs: int) -> None:
        """Say how many tokens the next run has, and of how many the logits are wanted."""
        self.counts[:] = tokens, outputs
        for factor, count in self._multiples.items():
            count[0] = factor * tokens

    def times(self, factor: int) -> int:
        """Address of `factor` times the number of tokens."""
        return int(self._multiples.setdefault(factor, np.zeros(1, np.int64)).ctypes.data)

    @property
    def tokens(self) -> int:
        """Address of the number of tokens."""
        return int(self.counts.ctypes.data)

    @property
    def outputs(self) -> int:
        """Address of the number of outputs."""
        return int(self.counts.ctypes.data) + 8


@dataclass(eq=False, slots=True)
class Value:
    """A (rows, width) float32 activation, or bytes, that lives from the operation that writes it to its last reader."""

    width: int
    nbytes: int
    outputs: bool = False  # one row for each output, not for each token
    address: int = 0
    kept: NDArray[np.uint8] | None = None  # memory of its own, readable after the run


Operand = Value | int | float


@dataclass(slots=True)
class Operation:
    """A kernel, its operands, and the stage it belongs to: threads meet only between stages."""

    kernel: Kernel
    operands: dict[str, Operand]
    stage: int

    def values(self) -> Iterator[Value]:
        return (v for v in self.operands.values() if isinstance(v, Value))


@dataclass(slots=True)
class Program:
    """A recording made runnable: int64 (operations, 5) as `ops.program` reads it; `memory` keeps buffers alive."""

    operations: NDArray[np.int64]
    memory: list[NDArray[np.uint8] | NDArray[np.int64]] = field(default_factory=list)


class Watcher(Protocol):
    """Hears of every product before it is recorded, and may record operations of its own; see `column_sums`."""

    def product(self, g: Graph, x: Value, weights: Sequence[QTensor]) -> None:
        """`weights` are about to read x (tokens, k)."""
        ...

    def experts(self, g: Graph, x: Value, groups: Value, source: Value | None, stacks: Sequence[QTensor]) -> None:
        """`stacks` (experts, rows, k) are about to read x: pair p its row source[p], or its row p."""
        ...


class Graph:
    """The recorder. Architectures speak to it through `layers`."""

    def __init__(self, step: Step, threads: int, watcher: Watcher | None = None) -> None:
        self.step, self.threads, self.watcher = step, threads, watcher
        self._operations: list[Operation] = []
        self._q8: dict[Value, Value] = {}
        self._scratch_bytes = 0
        self._scratch = Value(0, 0)
        self._stage = 0

    def value(self, width: int, *, outputs: bool = False) -> Value:
        """A new float32 value with `width` numbers for each token, or for each output."""
        rows = self.step.max_outputs if outputs else self.step.ubatch
        return Value(width, 4 * width * rows, outputs)

    def integers(self, per_token: int) -> Value:
        """A new int64 value with `per_token` numbers for each token."""
        return Value(per_token, 8 * per_token * self.step.ubatch)

    def rows_of(self, x: Value) -> int:
        """Address of the number of rows that `x` holds in this step."""
        return self.step.outputs if x.outputs else self.step.tokens

    def keep(self, x: Value) -> None:
        """Give `x` memory that outlives the run."""
        x.kept = aligned(x.nbytes)
        x.address = x.kept.ctypes.data

    def scratch(self, bytes_per_thread: int) -> Value:
        """Working memory of the threads, shared by all operations; the stride is the caller's `bytes_per_thread`."""
        self._scratch_bytes = max(self._scratch_bytes, bytes_per_thread)
        return self._scratch

    def add(self, kernel: Kernel, *, meet: bool = True, **operands: Operand) -> None:
        """Record a kernel. `meet=False`: the next one neither reads what this one writes nor overwrites its input."""
        self._operations.append(Operation(kernel, operands, self._stage))
        self._stage += meet

    def q8(self, x: Value, per_token: int = 1) -> Value:
        """`x`, of `per_token` rows for each token, as Q8 records, made once however many products read it."""
        if x not in self._q8:
            rows, k = x.nbytes // (4 * x.width) * per_token, x.width // per_token
            out = Value(x.width, rows * q8_bytes(k), x.outputs)
            self.add(
                quantize_q8, tokens=self.step.times(per_token) if per_token > 1 else self.rows_of(x), x=x, out=out, k=k
            )
            self._q8[x] = out
        return self._q8[x]

    def changed(self, x: Value) -> Value:
        """`x`, which a kernel has written over: records that were made of it before no longer hold."""
        self._q8.pop(x, None)
        return x

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels of the recording, one for each operation."""
        return [op.kernel for op in self._operations]

    def finish(self) -> Program:
        """Plan memory, compile or load the kernels, and pack the argument blocks."""
        prepare(self.kernels, self.threads)
        self._scratch.nbytes = self._scratch_bytes * self.threads
        memory: list[NDArray[np.uint8] | NDArray[np.int64]] = [*self._plan()]
        rows = np.zeros((len(self._operations), 5), np.int64)
        for i, op in enumerate(self._operations):
            operands = {k: v.address if isinstance(v, Value) else v for k, v in op.operands.items()}
            block = np.array(op.kernel.block(**operands), np.int64)
            memory.append(block)
            last = i + 1 == len(self._operations) or self._operations[i + 1].stage != op.stage
            rows[i, :3] = address_of(op.kernel), block.ctypes.data, last
        self._look_ahead(rows)
        return Program(rows, memory)

    def _look_ahead(self, rows: NDArray[np.int64]) -> None:
        """Write to the last two columns which weights, from where to where, are read first after each operation."""
        start = end = 0
        for i, op in reversed([*enumerate(self._operations)]):
            rows[i, 3:] = start, end
            weights, count, row_bytes = (op.operands.get(name) for name in ("weights", "rows", "row_bytes"))
            if isinstance(weights, int) and isinstance(count, int) and isinstance(row_bytes, int):
                start, end = weights, weights + min(count * row_bytes, AHEAD)

    def _plan(self) -> Iterator[NDArray[np.uint8]]:
        """Give every value memory; what is read for the last time in a stage is free from the next one on."""
        last_stage = {v: op.stage for op in self._operations for v in op.values()}
        last_stage[self._scratch] = self._stage
        free: list[NDArray[np.uint8]] = []
        used: dict[Value, NDArray[np.uint8]] = {}
        for op in self._operations:
            for v in [v for v in used if last_stage[v] < op.stage]:
                free.append(used.pop(v))
            for v in op.values():
                if v.address:
                    continue
                fitting = [b for b in free if b.nbytes >= v.nbytes]
                if fitting:
                    chosen = min(fitting, key=lambda b: b.nbytes)
                    free = [b for b in free if b is not chosen]
                else:
                    chosen = aligned(v.nbytes)
                    yield chosen
                v.address, used[v] = chosen.ctypes.data, chosen
