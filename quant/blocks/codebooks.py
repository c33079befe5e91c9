"""Codebooks: the small vectors of values, and the patterns of signs, that formats of few bits look up.

The vectors are those of the `gguf` package; nothing of it is needed once a kernel is compiled.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ..simd.instruction_set import InstructionSet

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


def vectors(v: InstructionSet, name: str) -> Any:
    """The part `(i) -> float32x8`: vector i of eight; or `(i, j)`, vectors i and j of four."""
    book = codebook(name)
    count, start = book.shape[1], v.table(book.tobytes())
    narrow = v.Vec("i8", count)
    if count == 8:
        return v.jitable(lambda i: v.to_f32(v.f32x8, v.load(narrow, start() + 8 * i)))
    return v.jitable(
        lambda i, j: v.to_f32(v.f32x8, v.join(v.load(narrow, start() + 4 * i), v.load(narrow, start() + 4 * j)))
    )


def apply_signs(v: InstructionSet) -> tuple[Any, Any]:
    """The part `(x, bits)`: float32x8, the signs of lanes changed where bits are set; and the same by seven bits."""
    i32x8, start = v.i32x8, v.table(even_signs().tobytes())

    @v.jitable
    def by_eight(x, bits):
        places = v.splat(i32x8, 31) - v.iota(i32x8, 1)
        return v.bitcast(v.f32x8, v.bitcast(i32x8, x) ^ (v.splat(i32x8, bits) << places & 0x80000000))

    return by_eight, v.jitable(lambda x, bits: by_eight(x, v.load_i8(start() + bits)))
