"""Qwen3-Next and Qwen3-Coder-Next (Qwen Team 2025): gated delta nets and gated attention with a mixture of experts.

The inputs of a delta net come from fused projections, in which each key head has its value heads beside it.
"""

from __future__ import annotations

from itertools import pairwise

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion
from ..hf.streams import Stream, joined, part
from ..layers import Layers
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.delta_net import DeltaNet, gated_delta_net
from ..layers.weights import Weights
from ..runtime.graph import Value
from .qwen35 import DEFAULTS, STEPS, delta_keys
from .qwen35moe import EXPERTS, decoder_with_experts, expert_keys
from .qwen35moe import predict as predict


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    return decoder_with_experts(g, c, w, vocab, delta_net)


def delta_net(g: Layers, h: Hyperparameters, d: DeltaNet, w: Weights, x: Value) -> Value:
    """A gated delta net with fused projections; early files have those of queries, keys, values and gates in one."""

    def inputs(w: Weights, x: Value) -> tuple[Value, Value, Value, Value]:
        both = g.linear(x, *w.linear("ssm_ba", 2 * d.heads, h.width))
        beta, alpha = (g.columns(both, first=at, width=d.shared, groups=d.key_heads) for at in (0, d.shared))
        if not w.has("ssm_in.weight"):
            rows = {"attn_qkv": 2 * d.key_dim + d.value_dim, "attn_gate": d.value_dim}
            qkv, gate = g.linears(x, *(w.linear(name, n, h.width) for name, n in rows.items()))
            return qkv, gate, alpha, beta
        whole, values = g.linear(x, *w.linear("ssm_in", 2 * (d.key_dim + d.value_dim), h.width)), d.shared * d.dim
        qkv = g.graph.value(2 * d.key_dim + d.value_dim)
        for i, width in enumerate((d.dim, d.dim, values)):
            g.copy_columns(whole, qkv, i * d.key_dim, first=i * d.dim, width=width, groups=d.key_heads)
        gate = g.columns(whole, first=2 * d.dim + values, width=values, groups=d.key_heads)
        return qkv, gate, alpha, beta

    return gated_delta_net(g, h, d, w, x, inputs, group=d.shared)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for expert weights that are not normalized."""
    if not s.flag("norm_topk_prob"):
        raise s.fail("norm_topk_prob is not true, and GGUF has no key for it")
    return delta_keys(s) | expert_keys(s)


def qkv_and_gate(s: Settings, x: Stream) -> dict[str, Stream]:
    """The fused projection as one of queries, keys and values of all heads, and one of gates."""
    heads, dim = s.integer("linear_num_key_heads"), s.integer("linear_key_head_dim")
    values = s.integer("linear_num_value_heads") // max(heads, 1) * dim
    if not heads or 2 * heads * (dim + values) != x.shape[0]:
        raise s.fail(f"a tensor of {x.shape[0]} rows does not have {heads} key heads of {dim} rows with their values")
    ends = (0, dim, 2 * dim, 2 * dim + values, 2 * (dim + values))
    starts = [2 * (dim + values) * i for i in range(heads)]
    parts = [joined([part(x, at + a, at + b) for at in starts]) for a, b in pairwise(ends)]
    return {"in_proj_qkv": joined(parts[:3]), "in_proj_z": parts[3]}


CONVERSION = Conversion(
    classes=("Qwen3NextForCausalLM",),
    defaults=DEFAULTS | {"norm_topk_prob": True},
    keys=keys,
    steps=STEPS | EXPERTS | {"in_proj_qkvz": qkv_and_gate},
)
