"""Write a plan: tensors stream from the source through the kernels of all threads into a file that appears whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError
from ..files.atomic_file import AtomicGroup, check_output
from ..gguf import split
from ..gguf.values import DEFAULT_ALIGNMENT
from ..gguf.writer import GGUFWriter, TensorInfo
from ..quant.jit.cpu import physical_cores
from ..quant.jit.kernel import Kernel
from ..quant.jit.parallel_compile import prepare
from ..quant.quantizer import ErrorStats, Quantizer, kernels
from ..runtime.executor import ThreadTeam
from ..runtime.program import KernelCall, Program
from ..text import escaped, shown
from .plan import GGUFPlan
from .source import TensorSource

Importance = Mapping[str, NDArray[np.float32]]  # weight of each column's error, (k,) or (matrices, k), by tensor


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """`threads`: None takes all physical cores. `high_effort`: search longer for less error, and measure the gain.

    `measure`: find the error of every tensor. `split_size`: bytes of tensors in a file at most, None for one file.
    """

    threads: int | None = None
    high_effort: bool = False
    measure: bool = False
    split_size: int | None = None
    force: bool = False
    also_read: Sequence[Path] = ()  # files besides the source, which are never overwritten


@dataclass(frozen=True, slots=True)
class TensorWritten:
    """Tensor `number` (from 1) is written: `done` of `total` bytes are. Errors are zero where nothing was measured.

    `normal_error` is what normal effort would leave, measured with high effort only.
    """

    info: TensorInfo
    number: int
    done: int
    total: int
    error: ErrorStats
    normal_error: ErrorStats


@dataclass(slots=True)
class WriteResult:
    """The files, their bytes, and the errors of all tensors together."""

    paths: list[Path] = field(default_factory=list)
    nbytes: int = 0
    error: ErrorStats = field(default_factory=ErrorStats)
    normal_error: ErrorStats = field(default_factory=ErrorStats)


def write_plan(
    source: TensorSource,
    plan: GGUFPlan,
    out: Path,
    options: WriteOptions,
    tell: Callable[[TensorWritten], None] = lambda _: None,
    importance: Importance | None = None,
) -> WriteResult:
    """Write `plan` to `out`, or to parts of it; `tell` is called after each tensor.

    Raises UsageError where a file is in the way, BadFileError for numbers that cannot be stored, and what `GGUFWriter`
    raises. Several parts appear together, when all are complete, the first part last.
    """
    parts = split.group_tensors(plan.tensors, options.split_size, DEFAULT_ALIGNMENT)
    stem = out.name.removesuffix(".gguf")
    names = [out.name] if len(parts) == 1 else [split.part_name(stem, i, len(parts)) for i in range(len(parts))]
    result = WriteResult([out.with_name(name) for name in names])
    for path in result.paths:
        check_output(path, *split.files_of(source.path), *options.also_read, force=options.force)
    with _TensorWriter(source, plan, options, importance or {}) as tensors, AtomicGroup() as group:
        for i in reversed(range(len(parts))):
            metadata = plan.metadata if i == 0 else {}
            if len(parts) > 1:
                metadata = metadata | split.part_keys(i, len(parts), len(plan.tensors))
            with GGUFWriter(result.paths[i], metadata, parts[i], group=group) as writer:
                for info in parts[i]:
                    tell(tensors.write(info, writer, result))
                result.nbytes += writer.nbytes
    return result


class _TensorWriter:
    """Context manager: a team of threads, and the quantizer that runs on it."""

    def __init__(self, source: TensorSource, plan: GGUFPlan, options: WriteOptions, importance: Importance) -> None:
        self._source, self._plan, self._options, self._importance = source, plan, options, importance
        self._threads = options.threads or physical_cores()
        self._number, self._done = 0, 0

    def __enter__(self) -> _TensorWriter:
        high = self._options.high_effort
        needed: list[Kernel] = []
        for info in self._plan.tensors:
            needed += kernels(
                self._source.tensor(info.name), info.format, important=info.name in self._importance, more_effort=high
            )
        prepare(needed, self._threads)
        self._team = ThreadTeam(self._threads)
        self._quantizer = Quantizer(self._run, self._threads, more_effort=high, measure=self._options.measure or high)
        self._normal = Quantizer(self._run, self._threads, measure=True) if high else None
        return self

    def __exit__(self, *_: object) -> None:
        self._team.close()

    def write(self, info: TensorInfo, writer: GGUFWriter, result: WriteResult) -> TensorWritten:
        tensor, importance = self._source.tensor(info.name), self._importance.get(info.name)
        error, normal_error = ErrorStats(), ErrorStats()
        try:
            for data in self._quantizer.stream(tensor, info.format, importance, error):
                writer.write(info.name, data)
            for _ in self._normal.stream(tensor, info.format, importance, normal_error) if self._normal else ():
                pass
        except ValueError as problem:
            hint = self._plan.too_large_hint if "too large" in str(problem) else ""
            where = escaped(str(self._source.path))
            raise BadFileError(f"{where}: tensor {shown(info.name)} {problem}", hint) from None
        self._source.release(info.name)
        self._number, self._done = self._number + 1, self._done + info.nbytes
        result.error.add(error)
        result.normal_error.add(normal_error)
        return TensorWritten(info, self._number, self._done, self._plan.tensor_bytes, error, normal_error)

    def _run(self, calls: list[tuple[Kernel, Mapping[str, int]]]) -> None:
        """Run kernels one after another, each on all threads."""
        if calls:
            self._team.run(Program.of(KernelCall(kernel, fields) for kernel, fields in calls))
