"""What a recording becomes: the columns of a program that no result depends on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlocal.ops.elementwise import add
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.kernels.matmul import SCRATCH_BYTES, matmul
from llmlocal.runtime.graph import AHEAD, Graph, Step


def test_waiting_threads_fetch_the_weights_that_are_read_next() -> None:
    load_all()
    width, step = 64, Step(ubatch=4, max_outputs=1)
    graph = Graph(step, threads=1)
    x = graph.value(width)

    def residual() -> None:
        graph.add(add, tokens=step.tokens, x=x, y=x, out=x, width=width)

    def product(weights: NDArray[Any]) -> None:
        graph.add(
            matmul(BY_NAME["F32"]),
            tokens=step.tokens,
            weights=weights.ctypes.data,
            x=x,
            y=graph.value(len(weights)),
            rows=len(weights),
            k=width,
            row_bytes=4 * width,
            y_stride=len(weights),
            scratch=graph.scratch(SCRATCH_BYTES),
        )

    small, large = np.zeros((64, width), np.float32), np.zeros((8192, width), np.float32)
    residual()
    product(small)
    residual()
    product(large)
    residual()
    assert small.nbytes < AHEAD < large.nbytes
    first, second = small.ctypes.data, large.ctypes.data
    ahead = [[first, first + small.nbytes], [second, second + AHEAD], [second, second + AHEAD], [0, 0], [0, 0]]
    assert graph.finish().operations[:, 3:].tolist() == ahead
