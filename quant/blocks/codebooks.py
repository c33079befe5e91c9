"""Codebooks: the small vectors of values, and the patterns of signs, that formats of few bits look up.

The vectors are those of the `gguf` package; nothing of it is needed once a kernel is compiled.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@cache
def codebook(name: str) -> NDArray[np.int8]:
    """The vectors of the GGUF type `name`: (count, 4 or 8) int8."""
    import numpy as np
    from gguf import quants

    kind = getattr(quants, name)
    kind.init_grid()
    book: NDArray[np.int8] = kind.grid[0, 0].astype(np.int8)
    return book


@cache
def even_signs() -> NDArray[np.uint8]:
    """The eight sign bits that seven stand for: the last makes the number of minus signs even; (128,) uint8."""
    import numpy as np

    seven = np.arange(128, dtype=np.uint8)
    return seven | (np.bitwise_count(seven) << 7).astype(np.uint8)


def signs(bits: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bytes (..., n) -> -1 where a bit is set, 1 elsewhere, the lowest bit first: (..., n, 8) float32."""
    import numpy as np

    return 1 - 2 * np.unpackbits(bits[..., None], axis=-1, bitorder="little").astype(np.float32)
