"""What a recording becomes: the columns of a program that no result depends on, and programs built without a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmlocal.ops.elementwise import add
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.kernels.matmul import SCRATCH_BYTES, matmul
from llmlocal.runtime.batch import Batch
from llmlocal.runtime.executor import ThreadTeam
from llmlocal.runtime.graph import Graph
from llmlocal.runtime.program import KernelCall, Program


def test_waiting_threads_fetch_the_weights_that_are_read_next() -> None:
    load_all()
    width, batch = 64, Batch(ubatch=4, max_outputs=1)
    graph = Graph(batch, threads=1)
    x = graph.value(width)

    def residual() -> None:
        graph.add(add, tokens=batch.tokens, x=x, y=x, out=x, width=width)

    def product(weights: NDArray[Any]) -> None:
        graph.add(
            matmul(BY_NAME["F32"]),
            tokens=batch.tokens,
            weights=weights.ctypes.data,
            x=x,
            y=graph.value(len(weights)),
            rows=len(weights),
            k=width,
            row_bytes=4 * width,
            y_stride=len(weights),
            scratch=graph.scratch(SCRATCH_BYTES),
        )

    small, large = np.zeros((64, width), np.float32), np.zeros((128, width), np.float32)
    residual()
    product(small)
    residual()
    product(large)
    residual()
    first, second = ([weights.ctypes.data, weights.ctypes.data + weights.nbytes] for weights in (small, large))
    ahead = [first, second, second, [0, 0], [0, 0]]
    assert graph.finish().operations[:, 3:5].tolist() == ahead


def test_a_program_of_kernel_calls_runs_them_in_order() -> None:
    x, out, tokens = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((2, 3), np.float32), np.array([2])
    shared = {"tokens": tokens.ctypes.data, "width": 3}
    doubled = {"x": x.ctypes.data, "y": x.ctypes.data, "out": out.ctypes.data}
    tripled = {"x": out.ctypes.data, "y": x.ctypes.data, "out": out.ctypes.data}
    program = Program.of([KernelCall(add, shared | doubled), KernelCall(add, shared | tripled)])
    team = ThreadTeam(2)
    team.run(program)
    team.close()
    assert np.array_equal(out, 3 * x)
    with pytest.raises(TypeError, match="add takes"):
        Program.of([KernelCall(add, doubled)])
