"""Matrix products from a format's parts: one row at a time for a single token, tiles of rows for a batch.

A kernel draws rows from its operation's counter, so any number of threads may run it at once; who computes a row does
not change it. Knows no model, no thread and no format by name.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .activations import q8_bytes
from .format import Format
from .jit import Kernel
from .panels import in_panels
from .parts import DecodedParts, FloatParts, IntegerParts, float_activations, refuse_stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIELDS = ("tokens", "weights", "x", "y", "rows", "k", "row_bytes", "y_stride", "scratch")
ROWS = 64  # rows of one draw in a batch
ROW_DRAWS, MAX_ROWS = 4, 256  # for a single token: draws per thread, and rows of a draw at most; long ones read faster
EARLY = 2  # rows before the end of a draw at which the next one is drawn, so that memory need not wait
SCRATCH_BYTES = 3 << 16  # of each thread: the tiles of one draw


def matmul(fmt: type[Format]) -> Kernel:
    """The kernel y (tokens, rows) = x (tokens, k) @ weights (rows, k).T for weights in `fmt`.

    `tokens` is the address of their number; `x` is float32 (tokens, k) where `float_activations(fmt)`, else the Q8
    records of `activations`; `y` is float32 with `y_stride` floats from token to token; `scratch` holds SCRATCH_BYTES
    for each thread. Raises ValueError for a format that is only stored.
    """
    refuse_stored(fmt)
    return Kernel(f"matmul_{fmt.name}", FIELDS, lambda v: _build(v, fmt))


def matmul_meaning(weights: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the kernel means: dequantized weights (rows, k), activations (tokens, k) -> (tokens, rows) in float64."""
    import numpy as np

    return x.astype(np.float64) @ weights.astype(np.float64).T


def float_bytes(k: int) -> int:
    """Bytes of a row of `k` float32."""
    return 4 * k


def _build(v: ModuleType, fmt: type[Format]) -> Any:
    from . import gemm_decoded, gemm_float, gemm_integer

    families: dict[type, Any] = {IntegerParts: gemm_integer, FloatParts: gemm_float, DecodedParts: gemm_decoded}
    parts = fmt.kernels(v)
    family = families[type(parts)]
    tiles_dot, row_panels = family.tiles_dot(v, fmt, parts), _row_panels(v, family.row_dots(v, fmt, parts))
    fetch_next = _fetch_next(v)
    few = v.FLOAT_FEW if family is gemm_float else v.FEW
    lanes, x_bytes = v.LANES, v.jitable(float_bytes if float_activations(fmt) else q8_bytes)

    def run(counter, ith, nth, tokens, weights, x, y, rows, k, row_bytes, y_stride, scratch):  # type: ignore[no-untyped-def]
        count, x_stride, tile = v.load_i64(tokens), x_bytes(k), scratch + SCRATCH_BYTES * ith
        draw = ROWS if count > few else max(lanes, min(MAX_ROWS, rows // (ROW_DRAWS * nth)))
        first = v.draw(counter, draw)
        while first < rows:
            last = min(rows, first + draw)
            if count > few:  # whole tiles here, the rows that are left one by one below
                tiles, at, out = (last - first) // lanes, weights + first * row_bytes, y + 4 * first
                tiles_dot(at, row_bytes, k, x, x_stride, count, out, 4 * y_stride, tiles, tile)
                first += lanes * tiles
            ahead, turn = -1, max(first, last - EARLY)
            for r in range(first, last):
                if r == turn:
                    ahead = fetch_next(counter, draw, weights, row_bytes)
                row_panels(count, weights + r * row_bytes, x, x_stride, k, y + 4 * r, 4 * y_stride, tile)
            first = ahead if ahead >= 0 else v.draw(counter, draw)

    return run


def _row_panels(v: ModuleType, row_dot_of: Callable[[int], Any]) -> Any:
    """`(tokens, weights, x, x_stride, k, y, y_stride, scratch)`: one row by all tokens.

    It is read from memory once; for the second panel of tokens it is in the cache.
    """

    def panel_of(count: int) -> Any:
        dot = row_dot_of(count)

        def run(t, weights, x, x_stride, k, y, y_stride, scratch):  # type: ignore[no-untyped-def]
            dot(weights, x + t * x_stride, x_stride, k, y + t * y_stride, y_stride, scratch)

        return run

    return in_panels(v, v.ROW_TOKENS, panel_of)


def _fetch_next(v: ModuleType) -> Any:
    """`(counter, draw, weights, row_bytes)` -> the first row of another draw, whose first bytes are asked for."""

    def run(counter, draw, weights, row_bytes):  # type: ignore[no-untyped-def]
        first = v.draw(counter, draw)
        for line in range(0, 2048, 64):
            v.prefetch(weights + row_bytes * first + line)
        return first

    return v.jitable(run)
