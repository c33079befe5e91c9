"""Persimmon (Adept AI 2023): layer norms of tokens, and of each head's queries and keys; ReLU squared; half of each
head has rotary embedding."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, groups_apart, renames, rotary_keys
from ..hf.streams import Stream, constant
from ..layers import Layers
from ..layers.decoder import attention_output, pre_norm_decoder, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import mlp, norm


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    attends = partial(attention, g, g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False))
    return pre_norm_decoder(g, h, w, vocab, attends, partial(mlp, g, activation=g.relu_squared), every_norm=norm)


def attention(g: Layers, rope: Rope, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """Attention of queries and keys that are normed per head."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    q, k = head_norm(g, h, w, "attn_q_norm", q), head_norm(g, h, w, "attn_k_norm", k)
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def head_norm(g: Layers, h: Hyperparameters, w: Weights, name: str, x: Value) -> Value:
    """Layer norm of each head."""
    weight, bias = w.vector(f"{name}.weight", h.heads, h.head_dim), w.vector(f"{name}.bias", h.q_dim)
    return g.layer_norm(x, weight, bias, h.eps)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for a model without norms of queries and keys."""
    if not s.flag("qk_layernorm"):
        raise s.fail("qk_layernorm is false, which is not supported", "")
    s.note("llama.cpp does not run this architecture")
    return decoder_keys(s) | rotary_keys(s)


def repeated(s: Settings, x: Stream) -> Stream:
    """The weights of the norm that all heads share, for each of them: (heads, head_dim)."""
    return constant(np.tile(x.read(0, 1)[0], (s.integer("num_attention_heads"), 1)))


def in_a_row(s: Settings, x: Stream) -> Stream:
    """As `repeated`, as one vector."""
    return constant(np.tile(x.read(0, 1)[0], s.integer("num_attention_heads")))


CONVERSION = Conversion(
    classes=("PersimmonForCausalLM",),
    defaults=UNTIED
    | {"layer_norm_eps": 1e-5, "qk_layernorm": True, "rope_theta": 25000.0, "partial_rotary_factor": 0.5},
    keys=keys,
    steps={
        r"query_key_value\.": groups_apart(lambda s: s.integer("num_attention_heads")),
        r"[qk]_layernorm\.weight$": repeated,
        r"[qk]_layernorm\.bias$": in_a_row,
        r"^model\.layers\.(\d+)\.self_attn\.([qk])_layernorm": renames(r"blk.\1.attn_\2_norm"),
    },
    named_as="gptneox",
    own_names=("blk.{}.attn_q_norm", "blk.{}.attn_k_norm"),
    activations=("relu2",),
)
