"""Statistics of each weight in an importance matrix, by the definitions of llama-imatrix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .file import Imatrix

BLOCK = re.compile(r"^blk\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of the mean squares of a weight's columns: their sum, maximum and standard deviation.

    `evenness`: normalized entropy, 1 where all columns are equal; `outliers`: the share of columns more than one
    standard deviation from the mean; `likeness`: cosine similarity to the same weight in the previous block, None for
    the first. Only the `used` of `matrices` (experts) with inputs are counted.
    """

    name: str
    matrices: int
    used: int
    columns: int
    total: float
    largest: float
    deviation: float
    evenness: float
    outliers: float
    likeness: float | None


def statistics(matrix: Imatrix) -> Iterator[Stats]:
    """The statistics of every weight with inputs, the largest total first."""
    found = [_of(matrix, name) for name in matrix.sums if (matrix.counts[name] > 0).any()]
    yield from sorted(found, key=lambda stats: (-stats.total, stats.name))


def _of(matrix: Imatrix, name: str) -> Stats:
    used = matrix.counts[name] > 0
    means = matrix.means(name)[used].astype(np.float64).ravel()
    mean, deviation = float(means.mean()), float(means.std(ddof=1)) if means.size > 1 else 0.0
    far = float((np.abs(means - mean) > deviation).mean()) if deviation else 0.0
    return Stats(
        name=name,
        matrices=len(used),
        used=int(used.sum()),
        columns=matrix.sums[name].shape[1],
        total=float(means.sum()),
        largest=float(means.max()),
        deviation=deviation,
        evenness=_evenness(means),
        outliers=far,
        likeness=_likeness(matrix, name),
    )


def _evenness(means: NDArray[np.float64]) -> float:
    shares = means[means > 0] / means.sum() if means.any() else np.ones(1)
    most = np.log2(means.size) if means.size > 1 else 1.0
    return float(-(shares * np.log2(shares)).sum() / most)


def _likeness(matrix: Imatrix, name: str) -> float | None:
    found = BLOCK.match(name)
    before = BLOCK.sub(f"blk.{int(found[1]) - 1}.", name) if found else name
    if not found or before not in matrix.sums or matrix.sums[before].shape != matrix.sums[name].shape:
        return None
    a, b = (_filled(matrix, each) for each in (name, before))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else None


def _filled(matrix: Imatrix, name: str) -> NDArray[np.float64]:
    """Mean squares of all matrices, flattened; 0 for a matrix without inputs."""
    n = matrix.counts[name].reshape(-1, 1)
    return (matrix.sums[name] / np.maximum(n, 1)).ravel()
