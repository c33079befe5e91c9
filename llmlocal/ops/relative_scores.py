"""Scores of attention that depend on one token of a pair and on how the two stand to each other.

They are written where attention reads biases (`ops.attention`), for texts that lie whole in a batch: by the distance of
query and key in DeBERTa (He et al. 2020, arXiv 2006.03654) and XLNet (Yang et al. 2019, arXiv 1906.08237), in XLNet
also by whether both belong to one part of a pair of texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from .kv.kv_type import ALIGN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def relative_scores_reference(
    x: NDArray[np.float64], vectors: NDArray[np.float64], rows: NDArray[np.int64], by_key: bool
) -> NDArray[np.float64]:
    """Scores (heads, tokens, tokens) of one text: x of the query, or of the key, times the vector of their distance.

    x (tokens, heads, head_dim), vectors (heads, n, head_dim); `rows` (tokens, tokens): the vector of query and key.
    """
    import numpy as np

    chosen = vectors[:, rows]  # (heads, queries, keys, head_dim)
    out: NDArray[np.float64] = np.einsum("khd,hqkd->hqk" if by_key else "qhd,hqkd->hqk", x, chosen)
    return out


def _dot(v: InstructionSet) -> Any:
    """`(x, y, n)`: the product of two float32 vectors."""
    f32x8 = v.f32x8

    def run(x, y, n):
        sums, total = v.zero(f32x8), v.float32(0)
        for i in range(0, n - 7, 8):
            sums = v.fma(v.load(f32x8, x + 4 * i), v.load(f32x8, y + 4 * i), sums)
        for i in range(n // 8 * 8, n):
            total += v.load_f32(x + 4 * i) * v.load_f32(y + 4 * i)
        return v.reduce_add(sums) + total

    return v.jitable(run)


@kernel("tokens positions last_positions x by_key vectors rows origin out heads head_dim count stride scale adds")
def relative_scores(v: InstructionSet) -> Any:
    """out[t, h, key] = scale * x[t, h] . vectors[h, rows[origin + key - position of t]], float32, for all keys of the
    text of t; added to `out` if `adds`, which is zero behind the last key otherwise. x[key, h] if `by_key`.

    x (tokens, heads, head_dim), vectors (heads, count, head_dim), rows int64, out (tokens, heads, stride).
    """
    dot = _dot(v)

    def run(
        counter,
        ith,
        nth,
        tokens,
        positions,
        last_positions,
        x,
        by_key,
        vectors,
        rows,
        origin,
        out,
        heads,
        head_dim,
        count,
        stride,
        scale,
        adds,
    ):
        n, size, t = v.load_i64(tokens), 4 * head_dim, v.take_work(counter, 1)
        while t < n:
            position, keys = v.load_i64(positions + 8 * t), v.load_i64(last_positions + 8 * t) + 1
            for h in range(heads):
                scores, of_head = out + 4 * stride * (heads * t + h), vectors + size * count * h
                for key in range(keys):
                    token = t - position + key if by_key else t
                    row = v.load_i64(rows + 8 * (origin + key - position))
                    score = dot(x + size * (heads * token + h), of_head + size * row, head_dim) * v.as_f32(scale)
                    v.store(scores + 4 * key, v.load_f32(scores + 4 * key) + score if adds else score)
                if not adds:
                    for key in range(keys, (keys + ALIGN - 1) // ALIGN * ALIGN):
                        v.store(scores + 4 * key, v.float32(0))
            t = v.take_work(counter, 1)

    return run


@kernel("tokens positions last_positions x parts vectors out heads head_dim stride scale")
def part_scores(v: InstructionSet) -> Any:
    """out[t, h, key] += scale * x[t, h] . vectors[part of t != part of key, h], float32, for all keys of the text of t.

    x (tokens, heads, head_dim), parts (tokens,) int64, vectors (2, heads, head_dim), out (tokens, heads, stride).
    """
    dot = _dot(v)

    def run(
        counter, ith, nth, tokens, positions, last_positions, x, parts, vectors, out, heads, head_dim, stride, scale
    ):
        n, size, t = v.load_i64(tokens), 4 * head_dim, v.take_work(counter, 1)
        while t < n:
            first, keys = t - v.load_i64(positions + 8 * t), v.load_i64(last_positions + 8 * t) + 1
            part = v.load_i64(parts + 8 * t)
            for h in range(heads):
                mine, scores = x + size * (heads * t + h), out + 4 * stride * (heads * t + h)
                same = dot(mine, vectors + size * h, head_dim) * v.as_f32(scale)
                other = dot(mine, vectors + size * (heads + h), head_dim) * v.as_f32(scale)
                for key in range(keys):
                    added = same if v.load_i64(parts + 8 * (first + key)) == part else other
                    v.store(scores + 4 * key, v.load_f32(scores + 4 * key) + added)
            t = v.take_work(counter, 1)

    return run
