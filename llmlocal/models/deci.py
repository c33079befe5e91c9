"""DeciLM 7B (Deci 2023), Nemotron 51B to 253B (NVIDIA 2024, arXiv 2411.19146): Llama whose blocks have numbers of key
heads and widths of their own; in some of them attention is a single matrix or absent, in some the MLP is absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..hf.config import Keys, Settings, as_integer, as_number
from ..hf.conversion import UNTIED, Conversion, llama3_factors
from ..hf.streams import Stream, take
from ..layers import Layers
from ..layers.decoder import decoder, gated_mlp, norm, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import llama_keys

MULTIPLE = 256  # the MLP's width is rounded up to a multiple


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        if h.kv_heads:
            x = g.add(x, rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        elif h.heads:  # one matrix in the place of attention
            x = g.add(x, g.linear(norm(g, h, b, "attn_norm", x), *b.linear("attn_output", h.width, h.width)))
        return g.add(x, gated_mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.swiglu)) if h.ffn else x

    return decoder(g, h, w, vocab, block)


def keys(s: Settings) -> Keys:
    """Metadata from config.json: block_configs or num_key_value_heads_per_layer. Raises BadFileError for wrong ones."""
    configs, each = s.items("block_configs"), s.items("num_key_value_heads_per_layer")
    if not configs:
        kv_heads = [as_integer(s, "num_key_value_heads_per_layer", n) for n in each]
        return llama_keys(s) | ({"attention.head_count_kv": kv_heads} if kv_heads else {})
    if len(configs) != s.integer("num_hidden_layers"):
        raise s.fail(f"block_configs has {len(configs)} elements, not num_hidden_layers")
    s.values["intermediate_size"] = [_width(s, _part(s, config, "ffn")) for config in configs]
    heads = [_heads(s, _part(s, config, "attention")) for config in configs]
    counts = {"attention.head_count": [n for n, _ in heads], "attention.head_count_kv": [n for _, n in heads]}
    return llama_keys(s) | counts


def _part(s: Settings, config: object, name: str) -> Mapping[str, Any]:
    part = config.get(name) if isinstance(config, dict) else None
    if not isinstance(part, dict):
        raise s.fail(f"an element of block_configs has no {name}")
    return part


def _heads(s: Settings, config: Mapping[str, Any]) -> tuple[int, int]:
    """Heads and key heads of a block: no key heads where attention is one matrix, no heads where it is absent."""
    heads, group = s.integer("num_attention_heads"), config.get("n_heads_in_group")
    if group is None:
        return (heads if config.get("replace_with_linear") is True else 0), 0
    size = as_integer(s, "n_heads_in_group", group)
    if not size or heads % size:
        raise s.fail(f"{heads} attention heads are not a multiple of n_heads_in_group {size}")
    return heads, heads // size


def _width(s: Settings, config: Mapping[str, Any]) -> int:
    """The width of a block's MLP, 0 where it has none. Raises BadFileError for one that is a single matrix."""
    if config.get("replace_with_linear"):
        raise s.fail("an MLP that is replaced with a linear layer is not supported", "")
    factor = as_number(s, "ffn_mult", config.get("ffn_mult") or 0.0)
    return -(-int(2 * factor * s.integer("hidden_size") / 3) // MULTIPLE) * MULTIPLE


def pairs_by_size(s: Settings, x: Stream) -> Stream:
    """As `pairs_turned`, for as many heads as the tensor has."""
    size, head_dim = x.shape[0], s.head_dim
    if size % head_dim or head_dim % 2:
        raise s.fail(f"a tensor of {size} rows cannot be divided into heads of {head_dim}")
    return take(x, np.arange(size).reshape(-1, 2, head_dim // 2).swapaxes(1, 2).reshape(-1))


CONVERSION = Conversion(
    classes=("DeciLMForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps={r"[qk]_proj\.(weight|bias)$": pairs_by_size},
    extra=llama3_factors,
)
