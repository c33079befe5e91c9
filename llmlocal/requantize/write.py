"""From a plan to a file, one tensor after another, on all threads. A file appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError, UsageError
from ..gguf import split
from ..gguf.values import ValueType
from ..gguf.writer import GGUFWriter, TensorInfo
from ..ops.program import OPERATION
from ..quant.jit.cpu import physical_cores
from ..quant.jit.kernel import Kernel
from ..quant.jit.linker import address_of
from ..quant.jit.parallel_compile import prepare
from ..quant.quantizer import Error, Quantizer, kernels
from ..runtime.executor import ThreadTeam
from ..runtime.program import Program
from ..text import escaped, shown
from .plan import Plan, parts_of
from .source import Model

Importance = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Done:
    """A tensor that is written: bytes of all so far and in all; `error` where it is measured, `usual` the error that
    the search of less effort leaves."""

    info: TensorInfo
    number: int
    done: int
    total: int
    error: Error
    usual: Error


@dataclass(slots=True)
class Result:
    """The files, and what all tensors together lost."""

    paths: list[Path] = field(default_factory=list)
    nbytes: int = 0
    error: Error = field(default_factory=Error)
    usual: Error = field(default_factory=Error)


@dataclass(frozen=True, slots=True)
class Way:
    """How to go about it. `longer`: search for less error, and measure what that gains; `measure`: find every error."""

    threads: int | None = None
    longer: bool = False
    measure: bool = False
    split_size: int | None = None
    force: bool = False


def check_output(model: Model, out: Path, *, force: bool) -> None:
    """Raises UsageError where `out` is what is read, or is there already and not to be written over."""
    if out.exists():
        if model.path.exists() and out.samefile(model.path):
            raise UsageError(f"{escaped(str(out))} is what is read; nothing is written over itself", "name another OUT")
        if not out.is_file() or not force:
            hint = "--force writes over it" if out.is_file() else "name a file"
            raise UsageError(f"{escaped(str(out))} exists", hint)


def write(
    model: Model, plan: Plan, out: Path, way: Way, importance: Importance, tell: Callable[[Done], None]
) -> Result:
    """Write the plan to `out`, or to parts of it; `tell` hears of every tensor.

    Raises UsageError where a file is in the way, BadFileError for numbers that cannot be quantized, and what
    `GGUFWriter` raises. The first part of several comes last, so that there is never a model without all its parts.
    """
    parts = parts_of(plan, way.split_size)
    stem = out.name.removesuffix(".gguf")
    names = [out.name] if len(parts) == 1 else [split.part_name(stem, i, len(parts)) for i in range(len(parts))]
    paths = [out.with_name(name) for name in names]
    for path in paths:
        check_output(model, path, force=way.force)
    result = Result(paths)
    with _Work(model, plan, way, importance) as work:
        for i in reversed(range(len(parts))):
            metadata = plan.metadata if i == 0 else {}
            if len(parts) > 1:
                metadata = metadata | _split_keys(i, len(parts), len(plan.infos))
            with GGUFWriter(paths[i], metadata, parts[i]) as writer:
                for info in parts[i]:
                    tell(work.tensor(info, writer, result))
                result.nbytes += writer.nbytes
    return result


def _split_keys(number: int, count: int, tensors: int) -> dict[str, Any]:
    return {
        split.NUMBER: (ValueType.U16, number),
        split.COUNT: (ValueType.U16, count),
        split.TENSORS: (ValueType.I32, tensors),
    }


class _Work:
    """The team, and a quantizer that it runs."""

    def __init__(self, model: Model, plan: Plan, way: Way, importance: Importance) -> None:
        self._model, self._plan, self._way, self._importance = model, plan, way, importance
        self._threads = way.threads or physical_cores()
        self._number, self._done = 0, 0

    def __enter__(self) -> _Work:
        formats = {tensor.name: tensor.format for tensor in self._model.tensors}
        wanted: list[Kernel] = []
        for info in self._plan.infos:
            if formats[info.name] is not info.format:
                important = info.name in self._importance
                wanted += kernels(formats[info.name], info.format, important=important, longer=self._way.longer)
        prepare(wanted, self._threads)
        self._team = ThreadTeam(self._threads)
        measure = self._way.measure or self._way.longer
        self._quantizer = Quantizer(self._run, self._threads, longer=self._way.longer, measure=measure)
        self._usual = Quantizer(self._run, self._threads, measure=True) if self._way.longer else None
        return self

    def __exit__(self, *_: object) -> None:
        self._team.close()

    def tensor(self, info: TensorInfo, writer: GGUFWriter, result: Result) -> Done:
        source, importance = self._model.tensor(info.name), self._importance.get(info.name)
        error, usual = Error(), Error()
        try:
            for data in self._quantizer.stream(source, info.format, importance, error):
                writer.write(info.name, data)
            for _ in self._usual.stream(source, info.format, importance, usual) if self._usual else ():
                pass
        except ValueError as problem:
            hint = "--tensor-type can keep it in F32 or BF16" if "too large" in str(problem) else ""
            where = escaped(str(self._model.path))
            raise BadFileError(f"{where}: tensor {shown(info.name)} {problem}", hint) from None
        self._model.forget(info.name)
        self._number, self._done = self._number + 1, self._done + info.nbytes
        result.error.add(error)
        result.usual.add(usual)
        return Done(info, self._number, self._done, self._plan.tensor_bytes, error, usual)

    def _run(self, steps: list[tuple[Kernel, Mapping[str, int]]]) -> None:
        """Run kernels one after another, each on all threads."""
        blocks = [np.array(kernel.block(**fields), np.int64) for kernel, fields in steps]
        rows = np.zeros((len(steps), OPERATION // 8), np.int64)
        for row, (kernel, _), block in zip(rows, steps, blocks, strict=True):
            row[:3] = address_of(kernel), block.ctypes.data, 1
        if steps:
            self._team.run(Program(rows, list(blocks)))
