"""A program beside that of the model, such as an encoder's: recorded and made ready with it, but run by itself."""

from __future__ import annotations

from ..quant.jit.kernel import Kernel
from .batch import Batch
from .graph import Graph
from .program import Program


class SideProgram:
    """Records into a graph of its own, for batches of its own."""

    def __init__(self, batch: Batch, threads: int) -> None:
        self._batch, self._graph = batch, Graph(batch, threads)

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels that `finish` needs."""
        return self._graph.kernels

    def finish(self) -> Program:
        """Make the program ready to run; kernels that are not compiled yet are compiled now."""
        self._program = self._graph.finish()
        return self._program
