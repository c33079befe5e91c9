"""Random numbers for tests of kernels, and float64 copies for their references."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def wide(x: Array) -> NDArray[np.float64]:
    return x.astype(np.float64)
