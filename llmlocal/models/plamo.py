"""PLaMo 13B (Preferred Networks 2023): attention and MLP run in parallel on the same norm. Query head h reads key
head h modulo their number, so the converter reorders the heads of queries."""

from __future__ import annotations

import numpy as np

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..hf.streams import take, take_columns
from ..layers import Layers
from ..layers.decoder import decoder, gated_mlp, norm, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value

CONTEXT = 4096  # no setting says it
SHARED = 8  # query heads of each key head, by default


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed = norm(g, h, b, "attn_norm", x)
        attended, mlp = rope_attention(g, h, b, normed, rope), gated_mlp(g, h, b, normed, g.swiglu)
        return g.add(g.add(x, attended), mlp)

    return decoder(g, h, w, vocab, block)


def keys(s: Settings) -> Keys:
    """Metadata from config.json, in which num_key_value_heads is not the number of key heads."""
    s.find("num_key_value_heads", "tokenizer_class")
    return decoder_keys(s) | {"context_length": CONTEXT, "attention.head_count_kv": key_heads(s)}


def key_heads(s: Settings) -> int:
    """How many key heads there are, each of n_shared_head queries. Raises BadFileError."""
    heads, shared = s.integer("num_attention_heads"), s.integer("n_shared_head")
    if not shared or heads % shared or not heads:
        raise s.fail(f"{heads} attention heads are not a multiple of n_shared_head {shared}")
    return heads // shared


def by_key_head(s: Settings, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The order that puts queries of the same key head side by side, of `size` rows. Raises BadFileError."""
    groups, heads = key_heads(s), s.integer("num_attention_heads")
    if size % heads:
        raise s.fail(f"a matrix of {size} rows cannot be divided into {heads} heads")
    return np.arange(size).reshape(heads // groups, groups, -1).swapaxes(0, 1).reshape(-1)


CONVERSION = Conversion(
    classes=("PlamoForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "n_shared_head": SHARED},
    keys=keys,
    steps={
        r"q_proj\.weight$": lambda s, x: take(x, by_key_head(s, x.rows)),
        r"o_proj\.weight$": lambda s, x: take_columns(x, by_key_head(s, x.k)),
    },
)
