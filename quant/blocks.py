"""The words in which block formats are spelled: rows cut into blocks, half floats, nibbles. Knows no format's layout.

A format gives one function for decoding and one for encoding a few thousand blocks; the loop over large tensors, the
checks and NumPy's warnings are dealt with here, once. NumPy is imported inside, so that formats stay cheap to list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .format import Format

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]
    Step = Callable[[Floats, Floats | None], Bytes]

CHUNK = 1 << 16  # values per step: the temporaries stay in the second-level cache, whatever the tensor's size


def decode(format: type[Format], step: Callable[[Bytes], Floats], data: Bytes) -> Floats:
    """Apply `step`, (n, nbytes) uint8 -> (n, block) float32, to rows of bytes (..., row_bytes).

    Returns a fresh (..., k) float32 array. Raises ValueError where a row holds a part of a block.
    """
    import numpy as np

    width, rest = divmod(data.shape[-1], format.nbytes)
    if rest:
        raise ValueError(f"row of {data.shape[-1]} bytes is not a multiple of {format.nbytes} ({format.name})")
    blocks = np.ascontiguousarray(data, np.uint8).reshape(-1, format.nbytes)
    values = np.empty((len(blocks), format.block), np.float32)
    with np.errstate(all="ignore"):  # damaged files hold infinite and NaN scales: they stay visible in the values
        for part in _chunks(len(blocks), format.block):
            values[part] = step(blocks[part])
    return values.reshape(*data.shape[:-1], width * format.block)


def encode(format: type[Format], step: Step, values: Floats, importance: Floats | None = None) -> Bytes:
    """Apply `step` to rows of values (..., k): blocks (n, block) float32, their importance -> (n, nbytes) uint8.

    `importance` has a shape that spreads over that of `values`. Returns a fresh (..., row_bytes) uint8 array. A finite
    value beyond the format's range becomes infinite, as in GGUF's reference. Raises ValueError for NaN, infinity, and
    where `k` is no multiple of the block.
    """
    import numpy as np

    row_bytes = format.row_bytes(values.shape[-1])
    blocks = np.ascontiguousarray(values, np.float32).reshape(-1, format.block)
    if importance is not None:
        importance = np.broadcast_to(importance, values.shape).reshape(-1, format.block)
    data = np.empty((len(blocks), format.nbytes), np.uint8)
    with np.errstate(all="ignore"):  # a scale may overflow or vanish as a half float, its inverse may be infinite
        for part in _chunks(len(blocks), format.block):
            if not np.isfinite(blocks[part]).all():
                raise ValueError(f"NaN or infinity cannot be quantized to {format.name}")
            data[part] = step(blocks[part], None if importance is None else importance[part])
    return data.reshape(*values.shape[:-1], row_bytes)


def unweighted(step: Callable[[Floats], Bytes]) -> Step:
    """A step that takes no notice of importance."""
    return lambda blocks, importance: step(blocks)


def _chunks(n_blocks: int, block: int) -> list[slice]:
    size = CHUNK // block
    return [slice(i, i + size) for i in range(0, n_blocks, size)]


def halves(data: Bytes) -> Floats:
    """Bytes of half floats (..., 2n) -> their values (..., n) float32."""
    import numpy as np

    return data.view(np.float16).astype(np.float32)


def half_bytes(values: Floats) -> Bytes:
    """Values (..., n) -> bytes of half floats (..., 2n) uint8, rounded to nearest even."""
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
