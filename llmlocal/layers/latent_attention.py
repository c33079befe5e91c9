"""Multi-head latent attention (MLA). DeepSeek-AI 2024, arXiv 2405.04434, 2.1.

A token's keys and values of all heads are linear in one short vector, its latent, followed by a key with rotary
embedding that the heads share. Only these are cached. The matrices that would unpack them are absorbed: queries are
multiplied by the one of the keys, what attention sums up of the latents by the one of the values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..ops.heads import heads_apart, heads_together
from ..ops.sort_by_expert import groups_bytes
from ..quant.format import Format
from ..quant.formats.f16 import F16
from ..quant.formats.f32 import F32
from ..runtime.graph import Value
from . import Layers
from .expert_matrices import ExpertMatrices
from .hyperparameters import Hyperparameters
from .metadata import Config
from .moe import grouped_linear
from .rope import Rope
from .rope_scaling import RopeParameters, rope_parameters
from .weights import Weights


@dataclass(frozen=True, slots=True)
class LatentSizes:
    """`latent`: numbers of a latent; `plain` and `rotary`: of a key without and with rotary embedding; `value`: of a
    value; `queries`: of the latent of queries, 0 where there is none. `scale` multiplies scores.
    """

    latent: int
    plain: int
    rotary: int
    value: int
    queries: int
    scale: float

    @classmethod
    def read(cls, c: Config, h: Hyperparameters, value: int, scale: float) -> LatentSizes:
        """Read and check metadata. Raises BadFileError for missing or wrong values."""
        if not 0 < h.rotary_dim < h.head_dim:
            raise c.fail(f"heads of {h.head_dim} values cannot have {h.rotary_dim} with rotary embedding")
        return cls(
            latent=c.integer("attention.kv_lora_rank", 1, 1 << 14),
            plain=h.head_dim - h.rotary_dim,
            rotary=h.rotary_dim,
            value=value,
            queries=c.integer("attention.q_lora_rank", 0, 1 << 16, 0),
            scale=scale,
        )


def sharpened_rope(c: Config, w: Weights, h: Hyperparameters, n_ctx: int) -> tuple[RopeParameters, float]:
    """The rotary embedding, and the scale of scores, which YaRN makes greater.

    `yarn_log_multiplier` is 0.1 mscale_all_dim: the models have mscale equal to it, so rotated values keep their size.
    """
    parameters, scale = rope_parameters(c, w, h, n_ctx), h.head_dim**-0.5
    multiplier = c.number("rope.scaling.yarn_log_multiplier", 0, 1e3, 0.0)
    if not multiplier or c.text("rope.scaling.type", "none") != "yarn":
        return parameters, scale
    factor = c.number("rope.scaling.factor", 0, 1e6, 1.0)
    sharper = 1 + multiplier * math.log(max(factor, 1.0))
    return replace(parameters, scale=c.number("rope.scaling.attn_factor", 0, 1e3, 1.0)), scale * sharper**2


def latent_attention(
    g: Layers,
    h: Hyperparameters,
    s: LatentSizes,
    w: Weights,
    x: Value,
    rope: Rope | None,
    position_scale: tuple[float, int] | None = None,
) -> Value:
    """Attention of x (tokens, width) over cached latents -> (tokens, width).

    Without `rope`, no part of queries and keys is rotated. `position_scale`: queries are multiplied by a factor of
    their position, see `Layers.position_scale`.
    """
    k_b, v_b = absorbed(g, h, s, w)
    q, packed = _queries_and_latents(g, h, s, w, x)
    latent = g.norm(g.columns(packed, first=0, width=s.latent), w.vector("attn_kv_a_norm.weight", s.latent), h.eps)
    key = g.columns(packed, first=s.latent, width=s.rotary)
    rotated = g.columns(q, first=s.plain, width=s.rotary, groups=h.heads)
    if rope is not None:
        g.apply_rope(rope, rotated, key, head_dim=s.rotary)
    size = s.latent + s.rotary
    cached, queries = g.graph.value(size), g.graph.value(h.heads * size)
    g.copy_columns(latent, cached, 0, first=0, width=s.latent)
    g.copy_columns(key, cached, s.latent, first=0, width=s.rotary)
    _by_head(g, h, q, k_b, queries, size)
    g.copy_columns(rotated, queries, s.latent, first=0, width=s.rotary, groups=h.heads, apart=size)
    if position_scale:
        g.position_scale(queries, *position_scale)
    found = g.attend_latents(queries, g.latents(cached, value_dim=s.latent), scale=s.scale)
    values = g.graph.value(h.heads * s.value)
    _by_head(g, h, found, v_b, values, s.value)
    return g.linear(values, *w.linear("attn_output", h.width, h.heads * s.value))


def _queries_and_latents(g: Layers, h: Hyperparameters, s: LatentSizes, w: Weights, x: Value) -> tuple[Value, Value]:
    """Queries (tokens, heads * head_dim), and latents with the shared key (tokens, latent + rotary)."""
    latents = w.linear("attn_kv_a_mqa", s.latent + s.rotary, h.width)
    if w.has("attn_q.weight") or not s.queries:
        q, packed = g.linears(x, w.linear("attn_q", h.q_dim, h.width), latents)
        return q, packed
    packed_q, packed = g.linears(x, w.linear("attn_q_a", s.queries, h.width), latents)
    normed = g.norm(packed_q, w.vector("attn_q_a_norm.weight", s.queries), h.eps)
    return g.linear(normed, *w.linear("attn_q_b", h.q_dim, s.queries)), packed


def absorbed(g: Layers, h: Hyperparameters, s: LatentSizes, w: Weights) -> tuple[ExpertMatrices, ExpertMatrices]:
    """For each head the matrix (latent, plain) of queries, and the matrix (value, latent) of what attention gives.

    In some files they are one, attn_kv_b: keys (plain, latent) and values (value, latent) of each head. The one of the
    keys is then copied, in half precision unless it is stored in F32 or BF16.
    """
    if w.has("attn_k_b.weight") or w.has("attn_v_b.weight"):
        k_b = w.matrix("attn_k_b.weight", h.heads, s.latent, s.plain)
        v_b = w.matrix("attn_v_b.weight", h.heads, s.value, s.latent)
        return ExpertMatrices.stacked(k_b), ExpertMatrices.stacked(v_b)
    both = w.matrix("attn_kv_b.weight", h.heads * (s.plain + s.value), s.latent)
    both = replace(both, shape=(h.heads, s.plain + s.value, s.latent))
    values = both.dequantize()[:, : s.plain].swapaxes(1, 2)
    wide = both.format.name in ("F32", "BF16")
    kind: type[Format] = F32 if wide else F16
    with np.errstate(over="ignore"):  # numbers that are too large for any model become infinite, as in its logits
        address = g.keep(np.ascontiguousarray(values, np.float32 if wide else np.float16))
    addresses = address + s.latent * kind.row_bytes(s.plain) * np.arange(h.heads, dtype=np.int64)
    keys = ExpertMatrices((both,), kind, (h.heads, s.latent, s.plain), addresses)
    return keys, ExpertMatrices.stacked(both).part(s.plain, s.plain + s.value)


def _by_head(g: Layers, h: Hyperparameters, x: Value, matrices: ExpertMatrices, out: Value, apart: int) -> None:
    """The first k values of each head of x (tokens, heads * n) by its matrix (rows, k), to heads of `out`.

    They begin `apart` values from each other.
    """
    graph, (_, rows, k) = g.graph, matrices.shape
    together, groups = graph.value(h.heads * k), Value(1, groups_bytes(h.heads))
    shared: dict[str, Any] = {"tokens": graph.batch.tokens, "heads": h.heads}
    x_head = x.width // h.heads
    graph.add(heads_together, x=x, out=together, groups=groups, x_head=x_head, first=0, width=k, **shared)
    products = grouped_linear(g, together, groups, h.heads, matrices)
    graph.add(heads_apart, x=products, out=out, width=rows, out_head=apart, **shared)
