"""NVFP4: 4-bit floats, two in a byte, a scale in FP8 for each 16 of a row, and a factor for the matrix.

    x = E2M1 * scale * factor

GGUF's NVFP4 has no place for the factor in its blocks, so matrices become floats.
"""

from __future__ import annotations

import numpy as np

from ...quant.blocks.lookup_levels import E2M1
from ..streams import Stream, Values
from .codes import unpacked
from .weights import QuantizedWeights, stored

GROUP = 16


def matrix(
    q: QuantizedWeights, names: tuple[str, str, str], packed: Stream | None, scale: Stream | None, factor: Stream | None
) -> Stream:
    """A matrix (rows, k) of bytes (rows, k / 2), scales (rows, k / 16) and one factor; `names` are theirs.

    Raises BadFileError where one is missing or does not fit.
    """
    packed = q.a_matrix(names[0], packed, "U8")
    rows, k = packed.rows, 2 * packed.k
    if k % GROUP:
        raise q.fail(names[0], f"has rows of {k} values, which are no groups of {GROUP}")
    scales = q.of_shape(names[1], scale, (rows, k // GROUP))
    if factor is None or factor.rows * factor.k != 1 or factor.blocks is not None:
        raise q.fail(names[2], "is missing, or not one number", "download the missing files")
    times = factor.read(0, 1).astype(np.float32)[0, 0]
    levels = np.array(E2M1, np.float32) / 2

    def read(first: int, end: int) -> Values:
        with np.errstate(over="ignore"):
            values: Values = levels[unpacked(stored(packed, first, end), 4, k)]
            values *= np.repeat(scales.read(first, end).astype(np.float32) * times, GROUP, axis=1)
        return values

    return Stream((rows, k), "F32", read)
