"""Qwen3.5, 3.6 and 3.8 (Qwen Team 2026): gated delta nets (Yang et al. 2024, arXiv 2412.06464), and gated attention
with partial rotary embedding in every fourth block. In GGUF, value head h of a delta net has key head h % key_heads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..hf.config import Keys, Settings, as_number
from ..hf.conversion import (
    MAX_LAYERS,
    WITHOUT_MTP,
    Conversion,
    adds,
    decay_rates,
    decoder_keys,
    drops,
    renames,
    squeezes,
)
from ..hf.streams import Stream, joined, split, take, take_columns
from ..layers import Layers
from ..layers.decoder import Head, gated_mlp
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.delta_net import DeltaNet, delta_net_decoder, delta_net_head, gated_delta_net
from ..layers.weights import Weights
from ..runtime.graph import Value
from .qwen2vl import section_keys

SECTIONS = [11, 11, 10, 0]  # transformers' default


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h, d = Hyperparameters.read(c, w), DeltaNet.read(c)
    mix = lambda h, b, x: delta_net(g, h, d, b, x)  # noqa: E731
    return delta_net_decoder(g, h, c, w, vocab, mix, lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu))


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the block that predicts a further token. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    return delta_net_head(g, h, c, w, vocab, lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu))


def delta_net(g: Layers, h: Hyperparameters, d: DeltaNet, w: Weights, x: Value) -> Value:
    """A gated delta net with four projections."""

    def inputs(w: Weights, x: Value) -> tuple[Value, Value, Value, Value]:
        rows = {"attn_qkv": 2 * d.key_dim + d.value_dim, "attn_gate": d.value_dim}
        rows |= {"ssm_alpha": d.heads, "ssm_beta": d.heads}
        qkv, gate, alpha, beta = g.linears(x, *(w.linear(name, n, h.width) for name, n in rows.items()))
        return qkv, gate, alpha, beta

    return gated_delta_net(g, h, d, w, x, inputs, group=1)


def delta_keys(s: Settings) -> Keys:
    """Metadata from config.json, also of Qwen3-Next."""
    blocks, every = min(s.integer("num_hidden_layers"), MAX_LAYERS), s.integer("full_attention_interval")
    if not every:
        raise s.fail("full_attention_interval is 0")
    kinds = s.items("layer_types") or ["linear_attention" if (i + 1) % every else "full" for i in range(blocks)]
    heads, dim = s.integer("linear_num_value_heads"), s.integer("linear_key_head_dim")
    if dim != s.integer("linear_value_head_dim"):
        raise s.fail("linear_value_head_dim differs from linear_key_head_dim, which is not supported")
    part = as_number(s, "partial_rotary_factor", s.rope.get("partial_rotary_factor", 1.0))
    return decoder_keys(s) | {
        "attention.key_length": s.head_dim,
        "attention.value_length": s.head_dim,
        "rope.dimension_count": int(part * s.head_dim),
        "attention.recurrent_layers": [kind == "linear_attention" for kind in kinds],
        "full_attention_interval": every,
        "ssm.conv_kernel": s.integer("linear_conv_kernel_dim"),
        "ssm.state_size": dim,
        "ssm.group_count": s.integer("linear_num_key_heads"),
        "ssm.time_step_rank": heads,
        "ssm.inner_size": heads * dim,
    }


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    s.find("mtp_num_hidden_layers", "mtp_use_dedicated_embeddings", "mamba_ssm_dtype", "attn_output_gate")
    return section_keys(s, SECTIONS) | delta_keys(s)


def tiled(s: Settings, size: int, rows: int) -> NDArray[np.int64]:
    """The order that puts value heads of `size` rows from groups, of one key head each, into turns of all key heads.

    Raises BadFileError where they are not `rows` in all.
    """
    keys, values = s.integer("linear_num_key_heads"), s.integer("linear_num_value_heads")
    if not keys or values % keys or values * size != rows:
        raise s.fail(f"a tensor of {rows} rows does not have {values} value heads of {size} rows for {keys} key heads")
    return np.arange(values * size).reshape(keys, values // keys, size).swapaxes(0, 1).reshape(-1)


def turns_heads(s: Settings, x: Stream) -> Stream:
    """Reorder value heads, of which each has as many rows."""
    return take(x, tiled(s, x.shape[0] // max(s.integer("linear_num_value_heads"), 1), x.shape[0]))


def turns_values(s: Settings, x: Stream) -> Stream:
    """Reorder the value heads after all queries and keys."""
    keys = 2 * s.integer("linear_num_key_heads") * s.integer("linear_key_head_dim")
    if keys > x.shape[0]:
        raise s.fail(f"a tensor of {x.shape[0]} rows does not hold {keys} of queries and keys")
    front, values = split(x, [keys, x.shape[0] - keys])
    return joined([front, take(values, tiled(s, s.integer("linear_value_head_dim"), values.shape[0]))])


def turns_columns(s: Settings, x: Stream) -> Stream:
    """Reorder the columns of the output projection."""
    return take_columns(x, tiled(s, s.integer("linear_value_head_dim"), x.k))


STEPS = {
    r"^(model\.)?mtp\.": drops(WITHOUT_MTP),
    r"(?<!linear_attn\.)norm\.weight$": adds(1),
    r"linear_attn\.conv1d\.weight$": squeezes,
    r"\.A_log$": decay_rates,
    r"\.dt_bias$": renames(".dt_proj.bias"),
}
TURNS = {
    r"linear_attn\.(in_proj_qkv|conv1d)\.weight$": turns_values,
    r"linear_attn\.(in_proj_[zab]\.weight|A_log|dt_proj\.bias)$": turns_heads,
    r"linear_attn\.out_proj\.weight$": turns_columns,
}
SIZES = {"linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128}
SIZES |= {"linear_num_key_heads": 16, "linear_num_value_heads": 32, "full_attention_interval": 4, "head_dim": 256}
DEFAULTS = SIZES | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "partial_rotary_factor": 0.25}
CONVERSION = Conversion(
    classes=("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"), defaults=DEFAULTS, keys=keys, steps=STEPS | TURNS
)
