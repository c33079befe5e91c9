"""Numbers that are added to the scores of attention, such as biases that depend on the distance of query and key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ops.kv.kv_type import padded
from ..runtime.batch import Batch
from ..runtime.graph import Value


@dataclass(frozen=True, slots=True)
class ScoreBias:
    """Where attention finds the bias of a query, a head and a key: see `ops.attention.Arguments`.

    `values` is an address or a value of the batch; `starts` the address of an index for each query.
    """

    values: int | Value
    starts: int
    stride: int


class DistanceBias:
    """Biases (heads, distances) by the position of a key minus that of a query, for a context of `n_ctx` tokens.

    `starts` (ubatch,) is filled before each run.
    """

    def __init__(self, batch: Batch, n_ctx: int, biases: NDArray[np.float32]) -> None:
        """`biases` has a column for each of `distances(n_ctx)`."""
        self._n_ctx, self._biases = n_ctx, np.ascontiguousarray(biases, np.float32)
        self._starts = np.zeros(batch.ubatch, np.int64)

    def fill(self, positions: NDArray[np.int64]) -> None:
        """Compute where the biases of a batch begin, from positions (tokens,)."""
        self._starts[: len(positions)] = self._n_ctx - positions

    @property
    def operand(self) -> ScoreBias:
        """What attention is given."""
        return ScoreBias(self._biases.ctypes.data, self._starts.ctypes.data, self._biases.shape[1])


def distances(n_ctx: int) -> NDArray[np.int64]:
    """All distances in a context of `n_ctx` tokens, and those of cells behind it that are read with it."""
    return np.arange(-n_ctx, padded(n_ctx), dtype=np.int64)


def distance_buckets(
    distances: NDArray[np.int64], count: int, *, both_ways: bool, most: int = 128
) -> NDArray[np.int64]:
    """The bucket, of `count`, that each distance belongs to. Raffel et al. 2020, arXiv 1910.10683.

    Short distances have a bucket each; the other half of the buckets grow by a constant factor up to the distance
    `most`. If `both_ways`, keys behind the query have the second half of all buckets, otherwise that of distance 0.
    """
    behind = distances > 0
    if both_ways:
        count //= 2
    apart = np.where(behind, distances if both_ways else 0, -distances)
    exact = count // 2
    with np.errstate(divide="ignore"):  # in float32, which decides where a bucket ends
        grown = np.log(apart.astype(np.float32) / np.float32(exact)) / np.float32(np.log(most / exact))
    grown = exact + np.minimum(np.maximum(grown, 0) * np.float32(count - exact), count).astype(np.int64)
    buckets = np.where(apart < exact, apart, np.minimum(grown, count - 1))
    return np.where(behind, buckets + count, buckets) if both_ways else buckets


def signed_buckets(distances: NDArray[np.int64], count: int, most: int) -> NDArray[np.int64]:
    """The bucket, -count to count, of each distance. He et al. 2021, arXiv 2111.09543, with buckets of their code.

    Distances up to count // 2 have a bucket each; the others grow by a constant factor, to the last at `most` - 1.
    """
    middle, apart = count // 2, np.abs(distances)
    far = np.maximum(apart, middle).astype(np.float32) / np.float32(middle)  # in float32, which decides where one ends
    grown = np.ceil(np.log(far) / np.log(np.float32((most - 1) / middle)) * np.float32(middle - 1)) + np.float32(middle)
    return np.where(apart <= middle, distances, np.sign(distances) * grown.astype(np.int64))
