"""Rotary position embedding: pairs of a head's values are rotated by angles proportional to the position.

Su et al. 2021, arXiv 2104.09864. `rope_table` computes the cosines and sines of a batch once for all layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def rope_table(
    positions: NDArray[np.int64], frequencies: NDArray[np.float64], scale: float, interleaved: bool
) -> NDArray[np.float32]:
    """Positions (tokens,) and radians per position of each pair (pairs,) -> (tokens, 2, rotary_dim) float32.

    Entry 0 multiplies each value (cos), entry 1 its partner in the pair (-sin or sin); `scale` multiplies both.
    Interleaved: value 2 i is paired with 2 i + 1; otherwise value i with i + pairs.
    """
    import numpy as np

    angles = positions[:, None] * frequencies
    cos, sin = np.cos(angles) * scale, np.sin(angles) * scale
    if interleaved:
        cosines, sines = np.repeat(cos, 2, axis=1), np.stack([-sin, sin], axis=2).reshape(len(angles), -1)
    else:
        cosines, sines = np.concatenate([cos, cos], axis=1), np.concatenate([-sin, sin], axis=1)
    return np.stack([cosines, sines], axis=1).astype(np.float32)


def rope_reference(x: NDArray[np.float64], table: NDArray[np.float64], interleaved: bool) -> NDArray[np.float64]:
    """x (tokens, heads, head_dim) rotated by a table (tokens, 2, rotary_dim) of `rope_table`.

    Values from rotary_dim on stay as they are.
    """
    import numpy as np

    rotary_dim = table.shape[2]
    index = np.arange(rotary_dim)
    partner = index ^ 1 if interleaved else (index + rotary_dim // 2) % rotary_dim
    out = x.copy()
    out[..., :rotary_dim] = x[..., :rotary_dim] * table[:, None, 0] + x[..., partner] * table[:, None, 1]
    return out


def _head(v: InstructionSet, interleaved: bool) -> Any:
    """`(x, table, rotary_dim)`: rotate one head in place."""
    f32x8, swap = v.f32x8, v.swap_pairs

    @v.jitable
    def pair(x, i, j, table, rotary_dim):
        a, b = v.load_f32(x + 4 * i), v.load_f32(x + 4 * j)
        sines = table + 4 * rotary_dim
        v.store(x + 4 * i, a * v.load_f32(table + 4 * i) + b * v.load_f32(sines + 4 * i))
        v.store(x + 4 * j, b * v.load_f32(table + 4 * j) + a * v.load_f32(sines + 4 * j))

    def interleaved_pairs(x, table, rotary_dim):
        for i in range(0, rotary_dim - 7, 8):
            value = v.load(f32x8, x + 4 * i)
            rotated = swap(value) * v.load(f32x8, table + 4 * (rotary_dim + i))
            v.store(x + 4 * i, v.fma(value, v.load(f32x8, table + 4 * i), rotated))
        for i in range(rotary_dim // 8 * 8, rotary_dim, 2):
            pair(x, i, i + 1, table, rotary_dim)

    def neox_pairs(x, table, rotary_dim):
        half, sines = rotary_dim // 2, table + 4 * rotary_dim
        for i in range(0, half - 7, 8):
            j = i + half
            a, b = v.load(f32x8, x + 4 * i), v.load(f32x8, x + 4 * j)
            v.store(x + 4 * i, v.fma(a, v.load(f32x8, table + 4 * i), b * v.load(f32x8, sines + 4 * i)))
            v.store(x + 4 * j, v.fma(b, v.load(f32x8, table + 4 * j), a * v.load(f32x8, sines + 4 * j)))
        for i in range(half // 8 * 8, half):
            pair(x, i, i + half, table, rotary_dim)

    return v.jitable(interleaved_pairs if interleaved else neox_pairs)


def _build(v: InstructionSet, interleaved: bool) -> Any:
    head = _head(v, interleaved)

    def run(counter, ith, nth, tokens, x, table, heads, head_dim, rotary_dim):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            for h in range(heads):
                head(x + 4 * head_dim * (heads * t + h), table + 8 * rotary_dim * t, rotary_dim)
            t = v.take_work(counter, 1)

    return run


@kernel("tokens x table heads head_dim rotary_dim", pieces="tokens")
def rope_interleaved(v: InstructionSet) -> Any:
    """Rotate x (tokens, heads, head_dim) float32 in place: value 2 i of a head with 2 i + 1, up to `rotary_dim`."""
    return _build(v, interleaved=True)


@kernel("tokens x table heads head_dim rotary_dim", pieces="tokens")
def rope_neox(v: InstructionSet) -> Any:
    """As `rope_interleaved`, value i with i + rotary_dim / 2 (the order of GPT-NeoX)."""
    return _build(v, interleaved=False)
