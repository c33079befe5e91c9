"""Records a forward pass once: kernels in order, over values whose memory is assigned when the recording ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .batch import Batch
from .buffers import CACHE_LINE, aligned, large_pages
from .program import KernelCall, Program

if TYPE_CHECKING:
    from ..quant.jit.kernel import Kernel
    from ..quant.tensor import QTensor


@dataclass(eq=False, slots=True)
class Value:
    """An activation (rows, width) float32, or other bytes. Its memory is reused after its last reader."""

    width: int
    nbytes: int
    outputs: bool = False  # whether it has one row for each output instead of each token
    address: int = 0
    kept: NDArray[np.uint8] | None = None  # memory of its own, which can be read after the run


@dataclass(frozen=True, slots=True)
class Part:
    """What lies in `value` from byte `first` on: columns of it, for a kernel that knows the bytes of a row."""

    value: Value
    first: int

    @property
    def address(self) -> int:
        """Where it begins; the value must have its memory."""
        return self.value.address + self.first


Operand = Value | Part | int | float


@dataclass(slots=True)
class Operation:
    """A kernel, its operands, and its stage: barriers stand only between stages."""

    kernel: Kernel
    operands: dict[str, Operand]
    stage: int

    def values(self) -> Iterator[Value]:
        return (v.value if isinstance(v, Part) else v for v in self.operands.values() if isinstance(v, Value | Part))


class MatrixStack(Protocol):
    """Matrices of experts, `shape` (experts, rows, k), by the names of one tensor for all or of one for each.

    Experts of a `group` in a row have one matrix together.
    """

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def group(self) -> int: ...


class MatmulObserver(Protocol):
    """Called before each matrix product is recorded, and may record operations of its own; see `imatrix.observer`."""

    def before_matmul(self, g: Graph, x: Value, weights: Sequence[QTensor]) -> None:
        """`weights`, each (rows, k), are about to be multiplied with x (tokens, k) float32."""
        ...

    def before_expert_matmul(
        self, g: Graph, x: Value, groups: Value, source: Value | None, stacks: Sequence[MatrixStack]
    ) -> None:
        """`stacks`, each (experts, rows, k), are about to be multiplied with rows of x (rows, k) float32.

        `groups` as `ops.sort_by_expert` writes them: pair p reads row source[p] of x, or row p if `source` is None.
        """
        ...


class Graph:
    """The recording of one forward pass for `threads` threads; architectures use it through `layers`."""

    def __init__(self, batch: Batch, threads: int, observer: MatmulObserver | None = None) -> None:
        self.batch, self.threads, self.observer = batch, threads, observer
        self._operations: list[Operation] = []
        self._scratch_bytes = 0
        self._scratch = Value(0, 0)
        self._stage = 0

    def value(self, width: int, *, outputs: bool = False) -> Value:
        """A new float32 value (tokens, width), or (outputs, width)."""
        rows = self.batch.max_outputs if outputs else self.batch.ubatch
        return Value(width, 4 * width * rows, outputs)

    def integers(self, per_token: int) -> Value:
        """A new int64 value (tokens, per_token)."""
        return Value(per_token, 8 * per_token * self.batch.ubatch)

    def rows_of(self, x: Value) -> int:
        """Address of the number of rows of `x` in the current batch, int64."""
        return self.batch.outputs if x.outputs else self.batch.tokens

    def keep(self, x: Value) -> None:
        """Give `x` memory that still holds it after a run."""
        x.kept = aligned(x.nbytes)
        x.address = x.kept.ctypes.data

    def scratch(self, bytes_per_thread: int) -> Value:
        """Working memory shared by all operations: thread i uses the bytes from i * `bytes_per_thread` on."""
        self._scratch_bytes = max(self._scratch_bytes, bytes_per_thread)
        return self._scratch

    def add(self, kernel: Kernel, *, barrier: bool = True, **operands: Operand) -> None:
        """Record a kernel. `barrier=False` if the next one neither reads its outputs nor overwrites its inputs."""
        self._operations.append(Operation(kernel, operands, self._stage))
        self._stage += barrier

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels, one for each operation."""
        return [op.kernel for op in self._operations]

    def finish(self) -> Program:
        """Assign memory to all values, and build the program; kernels that are not compiled yet are compiled now."""
        self._scratch.nbytes = self._scratch_bytes * self.threads
        memory = self._plan()
        return Program.of(self._calls(), [memory])

    def _calls(self) -> Iterator[KernelCall]:
        stages = [op.stage for op in self._operations[1:]] + [-1]
        for op, next_stage, prefetch in zip(self._operations, stages, self._prefetches(), strict=True):
            arguments = {name: v.address if isinstance(v, Value | Part) else v for name, v in op.operands.items()}
            yield KernelCall(op.kernel, arguments, op.stage != next_stage, prefetch)

    def _prefetches(self) -> list[tuple[int, int]]:
        """For each operation, the address range of the weights that an operation after it reads first."""
        ranges, ahead = [], (0, 0)
        for op in reversed(self._operations):
            ranges.append(ahead)
            weights, count, row_bytes = (op.operands.get(name) for name in ("weights", "rows", "row_bytes"))
            if isinstance(weights, int) and isinstance(count, int) and isinstance(row_bytes, int):
                ahead = weights, weights + count * row_bytes
        return ranges[::-1]

    def _plan(self) -> NDArray[np.uint8]:
        """Assign memory to every value; memory of a value last read in a stage is free from the next stage on.

        All of it lies together, so that the system may give it large pages.
        """
        last_stage = {v: op.stage for op in self._operations for v in op.values()}
        last_stage[self._scratch] = self._stage
        free: list[_Buffer] = []
        used: dict[Value, _Buffer] = {}
        placed: dict[Value, _Buffer] = {}
        total = 0
        for op in self._operations:
            for v in [v for v in used if last_stage[v] < op.stage]:
                free.append(used.pop(v))
            for v in op.values():
                if v.address or v in placed:
                    continue
                fitting = [b for b in free if b.nbytes >= v.nbytes]
                if fitting:
                    chosen = min(fitting, key=lambda b: b.nbytes)
                    free.remove(chosen)
                else:
                    chosen = _Buffer(total, v.nbytes)
                    total += -(-v.nbytes // CACHE_LINE) * CACHE_LINE
                placed[v] = used[v] = chosen
        memory = large_pages(total)
        for v, buffer in placed.items():
            v.address = memory.ctypes.data + buffer.start
        return memory


class _Buffer(NamedTuple):
    """Where in a program's memory values lie, one after the other."""

    start: int
    nbytes: int
