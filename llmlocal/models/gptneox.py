"""GPT-NeoX and Pythia (Black et al. 2022, arXiv 2204.06745): attention and MLP, each with its own layer norm, run in
parallel or in turn; part of each head has rotary embedding. The MLP has GELU itself, which llama.cpp
approximates."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, groups_apart, rotary_keys
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
    parallel = c.flag("use_parallel_residual", True)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        attended = rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope)
        if parallel:
            normed = norm(g, h, b, "ffn_norm", x)
            return g.add(g.add(x, attended), mlp(g, h, b, normed, g.gelu_erf))
        x = g.add(x, attended)
        return g.add(x, mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.gelu_erf))

    return decoder(g, h, w, vocab, block, norm)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    s.rope.setdefault("partial_rotary_factor", s.number("rotary_pct"))
    return decoder_keys(s) | rotary_keys(s) | {"use_parallel_residual": s.flag("use_parallel_residual")}


CONVERSION = Conversion(
    classes=("GPTNeoXForCausalLM",),
    defaults=UNTIED
    | {"layer_norm_eps": 1e-5, "rotary_emb_base": 10000.0, "rotary_pct": 0.25, "use_parallel_residual": True},
    keys=keys,
    steps={r"query_key_value\.": groups_apart(lambda s: s.integer("num_attention_heads"))},
    activations=("gelu",),
)
