"""GPT-J 6B (EleutherAI 2021) and CodeGen (Nijkamp et al. 2022, arXiv 2203.13474): attention and MLP run in parallel on
the same layer norm, and part of each head has rotary embedding, in interleaved pairs. llama.cpp does not run it, but
names its tensors and keys."""

from __future__ import annotations

import numpy as np

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, drops
from ..hf.settings_check import TANH_GELU
from ..hf.streams import Stream, take
from ..layers import Layers
from ..layers.decoder import decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import mlp, norm


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed = norm(g, h, b, "attn_norm", x)
        attended, made = rope_attention(g, h, b, normed, rope), mlp(g, h, b, normed)
        return g.add(g.add(x, attended), made)

    return decoder(g, h, w, vocab, block, norm)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    rotary = {"rope.dimension_count": s.integer("rotary_dim", default=s.head_dim)}
    s.note("llama.cpp does not run this architecture")
    return {"feed_forward_length": 4 * s.integer("n_embd")} | decoder_keys(s) | rotary


def apart(s: Settings, x: Stream) -> dict[str, Stream]:
    """CodeGen's fused projection, rows of four processors one behind the other, each with queries, values and keys."""
    if x.rows % (3 * SHARDS):
        raise s.fail(f"a fused tensor of {x.rows} rows cannot be divided into {SHARDS} parts of three")
    rows = np.arange(x.rows).reshape(SHARDS, 3, -1)
    return {f"{name}_proj": take(x, rows[:, i].reshape(-1)) for i, name in enumerate("qvk")}


SHARDS = 4
CONVERSION = Conversion(
    classes=("GPTJForCausalLM", "CodeGenForCausalLM"),
    defaults=UNTIED | {"layer_norm_epsilon": 1e-5, "rotary_dim": 64},
    keys=keys,
    steps={r"\.attn\.causal_mask$": drops(), r"qkv_proj": apart},
    activations=TANH_GELU,
)
