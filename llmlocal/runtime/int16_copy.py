"""Weights copied as 16-bit integers, for models that read whole texts: exacter than bytes, faster than float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..quant.kernels.int16_weights import SPARE_BYTES, int16_bytes, pack_int16
from ..quant.kernels.matmul_int16 import use_int16
from .buffers import aligned, large_pages
from .packed_texts import int16_copy_bytes
from .program import KernelCall, Program

if TYPE_CHECKING:
    from ..gguf.reader import GGUFFile
    from ..quant.jit.kernel import Kernel
    from ..quant.tensor import QTensor
    from .executor import ThreadTeam


class Int16Copy:
    """Room for the matrices among `tensors`; `place` hands it out, `fill` writes the copies."""

    def __init__(self, tensors: Mapping[str, QTensor], isa: str) -> None:
        self.nbytes, self._isa = int16_copy_bytes(tensors, isa), isa
        self._memory = large_pages(self.nbytes)
        self._placed: dict[int, tuple[QTensor, int]] = {}  # (original, address of the copy) by the original's address
        self._used = 0

    def place(self, weight: QTensor) -> int:
        """Address of the copy of `weight`, 0 if it has none."""
        if weight.address not in self._placed:
            nbytes = int16_bytes(weight.rows, weight.k)
            if not use_int16(weight.format, weight.rows, weight.k, self._isa) or self._used + nbytes > self.nbytes:
                return 0
            self._placed[weight.address] = weight, int(self._memory.ctypes.data) + self._used
            self._used += nbytes
        return self._placed[weight.address][1]

    def kernels(self) -> list[Kernel]:
        """The kernels that `fill` needs, each once."""
        return [pack_int16(fmt) for fmt in dict.fromkeys(weight.format for weight, _ in self._placed.values())]

    def fill(self, team: ThreadTeam, gguf: GGUFFile) -> None:
        """Write all copies; the system may take back the pages of their originals in `gguf`."""
        scratch = aligned(SPARE_BYTES * team.n_threads)
        calls = [
            KernelCall(
                pack_int16(weight.format),
                {
                    "source": weight.address,
                    "target": target,
                    "rows": weight.rows,
                    "k": weight.k,
                    "row_bytes": weight.format.row_bytes(weight.k),
                    "scratch": scratch.ctypes.data,
                },
                barrier=False,
            )
            for weight, target in self._placed.values()
        ]
        team.run(Program.of(calls, [scratch]))
        gguf.forget(*(weight for weight, _ in self._placed.values()))
