"""Tensors from one format to another: rows in, bytes out, a few megabytes at a time. Independent of files and threads.

Kernels decode rows to float32 and encode them again; the caller passes the function that runs kernels on its threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .format import BY_NAME, Format
from .formats import load_all
from .jit.kernel import Kernel
from .kernels.get_rows import get_rows
from .kernels.quantize_kernel import FINITE, PEAK_STRIDE, SCRATCH_BYTES, SLACK, has_quantize_kernel, quantize_kernel
from .tensor import QTensor

CHUNK = 1 << 20  # values at a time: their float32 stay in the cache between both kernels
SAFE = 65504.0  # the largest half: a scale is at most the greatest magnitude, so none overflows below this

# Runs kernels one after another, each by all threads: (kernel, fields) pairs.
Run = Callable[[list[tuple[Kernel, Mapping[str, int]]]], None]


class RowReader(Protocol):
    """A tensor whose rows are computed when they are read."""

    @property
    def name(self) -> str: ...
    @property
    def format(self) -> type[Format]:
        """What its values are stored in."""
        ...

    @property
    def shape(self) -> tuple[int, ...]: ...
    def read(self, first: int, last: int) -> NDArray[np.float32]:
        """Rows first..last - 1 as float32 (last - first, k)."""
        ...

    @property
    def holds_blocks(self) -> bool:
        """Whether its rows can be had in `format` as they are stored."""
        ...

    def blocks(self, first: int, last: int) -> NDArray[np.uint8]:
        """Rows first..last - 1 as bytes of `format`, (last - first, bytes of a row)."""
        ...


@dataclass(slots=True)
class ErrorStats:
    """Sums of squares over values that were quantized: of their errors (`lost`), and of themselves (`total`)."""

    lost: float = 0.0
    total: float = 0.0

    @property
    def relative(self) -> float:
        """Relative root mean square error."""
        return sqrt(self.lost / self.total) if self.total else 0.0

    def add(self, other: ErrorStats) -> None:
        self.lost, self.total = self.lost + other.lost, self.total + other.total


def kernels(tensor: QTensor | RowReader, target: type[Format], *, important: bool, more_effort: bool) -> list[Kernel]:
    """The kernels that `Quantizer.stream` runs to convert `tensor` to `target`, to be compiled beforehand."""
    if tensor.format is target and (isinstance(tensor, QTensor) or tensor.holds_blocks):
        return []
    decodes = isinstance(tensor, QTensor) and tensor.format.activations is not None
    found = [get_rows(tensor.format)] if decodes else []
    if has_quantize_kernel(target):
        found.append(quantize_kernel(target, important=important, more_effort=more_effort))
    return found


class Quantizer:
    """Converts tensors with `run`, with buffers for `threads` threads.

    `more_effort` searches longer for less error; `measure` adds up the error of what is encoded.
    """

    def __init__(self, run: Run, threads: int, *, more_effort: bool = False, measure: bool = False) -> None:
        load_all()
        self._run, self._more_effort, self._measure = run, more_effort, measure
        self._values = np.zeros(0, np.float32)
        self._out = np.zeros(0, np.uint8)
        self._peaks = np.zeros(PEAK_STRIDE // 8 * threads, np.int64)
        self._scratch = np.zeros(SCRATCH_BYTES * threads, np.uint8)
        self._count = np.zeros(1, np.int64)
        self._ids = np.zeros(0, np.int64)

    def stream(
        self,
        tensor: QTensor | RowReader,
        target: type[Format],
        importance: NDArray[np.float32] | None,
        error: ErrorStats,
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the bytes of `tensor` in `target`, uint8 arrays that are valid until the next one is asked for.

        `importance` is (k,) or (matrices, k) float32; measured errors are added to `error`. Blocks that are in
        `target` already are passed on unchanged. Raises ValueError for NaN, infinity, and values too large for
        `target`.
        """
        k = tensor.shape[-1]
        count = int(np.prod(tensor.shape[:-1], dtype=np.int64))
        matrices = 1 if importance is None or importance.ndim == 1 else len(importance)
        rows = count // matrices
        for matrix in range(matrices):
            columns = None
            if importance is not None:
                columns = np.resize(importance.reshape(matrices, k)[matrix], k + SLACK)
            for first in range(matrix * rows, (matrix + 1) * rows, max(1, CHUNK // k)):
                last = min(first + max(1, CHUNK // k), (matrix + 1) * rows)
                if tensor.format is target and isinstance(tensor, QTensor):
                    yield tensor.bytes_array()[first:last]
                elif tensor.format is target and not isinstance(tensor, QTensor) and tensor.holds_blocks:
                    yield tensor.blocks(first, last)
                else:
                    yield self._convert(tensor, target, first, last, columns, error)

    def _convert(
        self,
        tensor: QTensor | RowReader,
        target: type[Format],
        first: int,
        last: int,
        columns: NDArray[np.float32] | None,
        error: ErrorStats,
    ) -> NDArray[np.uint8]:
        k, n = tensor.shape[-1], last - first
        values = self._room(n * k)
        steps = self._decoding(tensor, first, last, values)
        if not has_quantize_kernel(target):
            self._run(steps)
            return target.quantize(values[: n * k].reshape(n, k), None if columns is None else columns[:k])
        size = n * target.row_bytes(k)
        if len(self._out) < size + 8 * SLACK:
            self._out = np.empty(size + 8 * SLACK, np.uint8)
        self._peaks[:] = 0
        fields = {
            "values": values.ctypes.data,
            "out": self._out.ctypes.data,
            "blocks": n * k // target.block,
            "importance": 0 if columns is None else columns.ctypes.data,
            "k": k,
            "peaks": self._peaks.ctypes.data,
            "scratch": self._scratch.ctypes.data,
        }
        self._run(
            [*steps, (quantize_kernel(target, important=columns is not None, more_effort=self._more_effort), fields)]
        )
        out = self._out[:size]
        self._check(target, out, n, k)
        if self._measure:
            error.add(self._lost(target, out, values[: n * k], n, k))
        return out

    def _room(self, count: int) -> NDArray[np.float32]:
        """A buffer of `count` values and SLACK zeros behind them."""
        if len(self._values) < count + SLACK:
            self._values = np.zeros(count + SLACK, np.float32)
        self._values[count : count + SLACK] = 0
        return self._values

    def _decoding(
        self, tensor: QTensor | RowReader, first: int, last: int, out: NDArray[np.float32]
    ) -> list[tuple[Kernel, Mapping[str, int]]]:
        """The kernel calls that are still needed until rows first..last - 1 are in `out`."""
        k, n = tensor.shape[-1], last - first
        if not isinstance(tensor, QTensor):
            out[: n * k] = tensor.read(first, last).reshape(-1)
            return []
        data = tensor.bytes_array()[first:last]
        if tensor.format.activations is None:
            out[: n * k] = tensor.format.dequantize(data).reshape(-1)
            return []
        return [self._gather(tensor.format, data, out, k)]

    def _gather(
        self, format: type[Format], data: NDArray[np.uint8], out: NDArray[np.float32], k: int
    ) -> tuple[Kernel, Mapping[str, int]]:
        if len(self._ids) < len(data):
            self._ids = np.arange(len(data), dtype=np.int64)
        self._count[0] = len(data)
        return get_rows(format), {
            "tokens": self._count.ctypes.data,
            "ids": self._ids.ctypes.data,
            "weights": data.ctypes.data,
            "out": out.ctypes.data,
            "k": k,
            "row_bytes": format.row_bytes(k),
        }

    def _decoded(self, format: type[Format], data: NDArray[np.uint8], n: int, k: int) -> NDArray[np.float32]:
        """Rows of bytes as float32 (n * k,)."""
        back = np.empty(n * k, np.float32)
        self._run([self._gather(format, data.reshape(n, -1), back, k)])
        return back

    def _check(self, target: type[Format], out: NDArray[np.uint8], n: int, k: int) -> None:
        bits = int(self._peaks.max())
        if bits >= FINITE:
            raise ValueError("holds NaN or infinity")
        peak = float(np.int32(bits).view(np.float32))
        if peak > SAFE and not np.isfinite(self._decoded(target, out, n, k)).all():
            raise ValueError(f"holds {peak:.6g}, too large for {target.name}")

    def _lost(
        self, target: type[Format], out: NDArray[np.uint8], values: NDArray[np.float32], n: int, k: int
    ) -> ErrorStats:
        back = self._decoded(target, out, n, k)
        back -= values
        return ErrorStats(float(np.dot(back, back)), float(np.dot(values, values)))


def format_named(name: str) -> type[Format] | None:
    """The format of this name (in any case) if tensors can be quantized to it, else None."""
    load_all()
    found = BY_NAME.get(name.upper())
    return found if found is not None and (has_quantize_kernel(found) or found.offers("quantize_blocks")) else None
