"""Rotary position embedding: pairs of a head's values turn by an angle that grows with the position.

Su et al. 2021, arXiv 2104.09864. The table of a step is made by `rope_table` once for all layers.
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
    """Positions (tokens,) and frequencies (pairs,) -> (tokens, 2, 2 * pairs): factors of x, then of its partner.

    Interleaved: value 2 i is paired with 2 i + 1; otherwise value i with i + pairs. `scale` multiplies both.
    """
    import numpy as np

    angles = positions[:, None] * frequencies
    cos, sin = np.cos(angles) * scale, np.sin(angles) * scale
    if interleaved:
        own, other = np.repeat(cos, 2, axis=1), np.stack([-sin, sin], axis=2).reshape(len(angles), -1)
    else:
        own, other = np.concatenate([cos, cos], axis=1), np.concatenate([-sin, sin], axis=1)
    return np.stack([own, other], axis=1).astype(np.float32)


def rope_meaning(x: NDArray[np.float64], table: NDArray[np.float64], interleaved: bool) -> NDArray[np.float64]:
    """x (tokens, heads, head_dim) turned by a table (tokens, 2, turned); values past `turned` stay."""
    import numpy as np

    turned = table.shape[2]
    index = np.arange(turned)
    partner = index ^ 1 if interleaved else (index + turned // 2) % turned
    out = x.copy()
    out[..., :turned] = x[..., :turned] * table[:, None, 0] + x[..., partner] * table[:, None, 1]
    return out


def _head(v: InstructionSet, interleaved: bool) -> Any:
    """`(x, table, turned)`: one head in place."""
    f32x8, swap = v.f32x8, v.swap_pairs

    @v.jitable
    def pair(x, i, j, table, turned):
        a, b = v.load_f32(x + 4 * i), v.load_f32(x + 4 * j)
        other = table + 4 * turned
        v.store(x + 4 * i, a * v.load_f32(table + 4 * i) + b * v.load_f32(other + 4 * i))
        v.store(x + 4 * j, b * v.load_f32(table + 4 * j) + a * v.load_f32(other + 4 * j))

    def neighbours(x, table, turned):
        for i in range(0, turned - 7, 8):
            value = v.load(f32x8, x + 4 * i)
            turn = swap(value) * v.load(f32x8, table + 4 * (turned + i))
            v.store(x + 4 * i, v.fma(value, v.load(f32x8, table + 4 * i), turn))
        for i in range(turned // 8 * 8, turned, 2):
            pair(x, i, i + 1, table, turned)

    def halves(x, table, turned):
        half, other = turned // 2, table + 4 * turned
        for i in range(0, half - 7, 8):
            j = i + half
            a, b = v.load(f32x8, x + 4 * i), v.load(f32x8, x + 4 * j)
            v.store(x + 4 * i, v.fma(a, v.load(f32x8, table + 4 * i), b * v.load(f32x8, other + 4 * i)))
            v.store(x + 4 * j, v.fma(b, v.load(f32x8, table + 4 * j), a * v.load(f32x8, other + 4 * j)))
        for i in range(half // 8 * 8, half):
            pair(x, i, i + half, table, turned)

    return v.jitable(neighbours if interleaved else halves)


def _build(v: InstructionSet, interleaved: bool) -> Any:
    head = _head(v, interleaved)

    def run(counter, ith, nth, tokens, x, table, heads, head_dim, turned):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            for h in range(heads):
                head(x + 4 * head_dim * (heads * t + h), table + 8 * turned * t, turned)
            t = v.take_work(counter, 1)

    return run


@kernel("tokens x table heads head_dim turned")
def rope_interleaved(v: InstructionSet) -> Any:
    """x (tokens, heads, head_dim) float32 in place: the first `turned` values of every head, neighbours paired."""
    return _build(v, interleaved=True)


@kernel("tokens x table heads head_dim turned")
def rope_halves(v: InstructionSet) -> Any:
    """As rope_interleaved, with value i paired with i + turned / 2."""
    return _build(v, interleaved=False)
