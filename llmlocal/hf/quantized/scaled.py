"""Tensors of numbers, such as FP8, that are multiplied by scales: one for all, one for each row, or for blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, Values
from .weights import QuantizedWeights

Floats = NDArray[np.float32]


def grid(
    q: QuantizedWeights, name: str, shape: tuple[int, ...], scale: Stream, block: tuple[int, int] | None
) -> tuple[int, int]:
    """How many rows and columns of a tensor share a scale. Raises BadFileError where its scales do not fit.

    `scale` is one number, one for each row, or (..., rows of blocks, columns of blocks); the last blocks may be cut
    where the size `block` is known.
    """
    rows, k = shape[-2:]
    if scale.rows * scale.k == 1:
        return max(1, rows), max(1, k)
    sizes = scale.shape if len(scale.shape) > 1 else (scale.k, 1)
    down, across = sizes[-2:]
    if sizes[:-2] == shape[:-2] and down and across:
        if block and min(block) > 0 and -(-rows // block[0]) == down and -(-k // block[1]) == across:
            return block
        if rows % down == 0 and k % across == 0:
            return rows // down, k // across
    raise q.fail(name, f"has the shape {scale.shape}, which does not fit a weight of {shape}")


def times_grid(
    q: QuantizedWeights, name: str, x: Stream, scale: Stream, block: tuple[int, int] | None = None
) -> Stream:
    """A tensor (..., rows, k) of floats times its scales, computed in float32. `name` is that of the scales."""
    if len(x.shape) < 2 or 0 in x.shape:
        raise q.fail(name, f"belongs to a weight of the shape {x.shape}, which is not a matrix")
    if x.blocks is not None or scale.blocks is not None:
        wrong, of = (scale, "") if scale.blocks is not None else (x, "belongs to a weight that ")
        raise q.fail(name, f"{of}is {wrong.format}, must be a float")
    down, across = grid(q, name, x.shape, scale, block)

    def read(first: int, end: int) -> Values:
        factors = scales_of(scale, x.shape, (down, across), first, end)
        with np.errstate(over="ignore"):
            product: Values = x.read(first, end).astype(np.float32)
            product *= factors[:, np.arange(x.k) // across]
        return product

    return Stream(x.shape, "F32", read)


def scales_of(scale: Stream, shape: tuple[int, ...], block: tuple[int, int], first: int, end: int) -> Floats:
    """The scales of rows first..end - 1 of a tensor of `shape`, (end - first, columns of blocks) float32."""
    across = -(-shape[-1] // block[1])
    if scale.rows * scale.k == 1:
        return np.full((end - first, 1), scale.read(0, 1).astype(np.float32)[0, 0])
    rows = np.arange(first, end)
    down = -(-shape[-2] // block[0])
    wanted = rows // shape[-2] * down + rows % shape[-2] // block[0]
    if len(scale.shape) == 1:
        whole: Floats = scale.read(0, 1).astype(np.float32).reshape(-1, across)[wanted]
        return whole
    low, high = int(wanted.min(initial=0)), int(wanted.max(initial=-1)) + 1
    found: Floats = scale.read(low, high).astype(np.float32)[wanted - low]
    return found


def inverse(x: Stream) -> Stream:
    """1 / x for every value, in float32; infinity for 0."""

    def read(first: int, end: int) -> Values:
        with np.errstate(divide="ignore", over="ignore"):
            return np.float32(1) / x.read(first, end).astype(np.float32)

    return x if x.blocks is not None else Stream(x.shape, "F32", read)
