"""Bit fields, float16 and rounding that the NumPy side of several block formats shares.

NumPy is imported inside the functions, so that formats stay cheap to list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]


def float16_values(data: Bytes) -> Floats:
    """Bytes of float16 (..., 2n) -> their values (..., n) float32."""
    import numpy as np

    return data.view(np.float16).astype(np.float32)


def float16_bytes(values: Floats) -> Bytes:
    """Values (..., n) -> bytes of float16 (..., 2n) uint8, rounded to nearest even."""
    import numpy as np

    return values.astype(np.float16).view(np.uint8)


def fields(data: Bytes, bits: int) -> Bytes:
    """Bit fields (..., n) -> (..., n * 8 / bits) uint8: first every byte's lowest field, then every next higher one."""
    import numpy as np

    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return ((data[..., None, :] >> shifts) & np.uint8((1 << bits) - 1)).reshape(*data.shape[:-1], -1)


def pack_fields(q: Bytes, bits: int) -> Bytes:
    """The inverse of `fields`, (..., n * 8 / bits) -> (..., n) uint8; bits of `q` above the field must be zero."""
    import numpy as np

    count = 8 // bits
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    parts = q.reshape(*q.shape[:-1], count, q.shape[-1] // count) << shifts
    packed: Bytes = np.bitwise_or.reduce(parts, axis=-2)
    return packed


def extreme(x: Floats) -> Floats:
    """The value of largest magnitude in each block, with its sign: (n, block) -> (n, 1)."""
    import numpy as np

    return np.take_along_axis(x, np.abs(x).argmax(axis=-1, keepdims=True), axis=-1)


def inverse(d: Floats) -> Floats:
    """1 / d, and 0 where d is 0."""
    import numpy as np

    return np.where(d == 0, np.float32(0), 1 / d)


def level(x: Floats, offset: float, top: int) -> Bytes:
    """Integers 0..top nearest to x + offset, for x that is in range but for rounding; uint8."""
    import numpy as np

    q: Bytes = np.trunc(x + np.float32(offset + 0.5)).astype(np.uint8)
    return q.clip(0, top)


def sign_levels(x: Floats) -> Bytes:
    """0, 1 or 2 for -1, 0 or 1, whichever is nearest to x in -1..1; halves go away from zero."""
    import numpy as np

    return ((x >= 0.5).astype(np.int8) - (x <= -0.5) + 1).astype(np.uint8)
