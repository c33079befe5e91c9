"""Grok 1 and 2 (xAI 2024): norms before and after attention and feed-forward, capped scores, and a mixture of experts
with GELU; Grok 2 has an MLP beside it. Weights of experts sum to 1, as in llama.cpp."""

from __future__ import annotations

import math

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, renames
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.decoder import attention_output, decoder, gated_mlp, mixture_of_experts, norm, qkv_weights
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value

# of Grok 1, for files without the keys
EMBEDDING, LOGITS, SCORES, CAP = 78.38367176906169, 0.5773502691896257, 0.08838834764831845, 30.0


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    scale, cap = c.number("attention.output_scale", 0, 1e3, SCORES), c.number("attn_logit_softcapping", 0, 1e6, CAP)
    c.number("router_logit_softcapping", 0, 1e6, CAP)  # not computed, as in llama.cpp

    def attention(h: Hyperparameters, b: Weights, x: Value) -> Value:
        q, k, v = g.linears(x, *qkv_weights(h, b))
        g.apply_rope(rope, q, k, head_dim=h.head_dim)
        return attention_output(g, h, b, g.attention(q, k, v, head_dim=h.head_dim, scale=scale, softcap=cap))

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        attended = attention(h, b, norm(g, h, b, "attn_norm", x))
        x = g.add(x, norm(g, h, b, "attn_output_norm", attended))
        normed = norm(g, h, b, "ffn_norm", x)
        out = mixture_of_experts(g, h, e, b, normed, g.geglu, normalize_weights=True)
        if b.has("ffn_up.weight"):
            out = g.scale(g.add(out, gated_mlp(g, h, b, normed, g.geglu)), math.sqrt(0.5))
        last = "layer_output_norm" if b.has("layer_output_norm.weight") else "post_ffw_norm"
        return g.add(x, norm(g, h, b, last, out))

    out = decoder(g, h, w, vocab, block, embedding_scale=c.number("embedding_scale", 0, 1e6, EMBEDDING) or 1.0)
    out = g.scale(out, c.number("logit_scale", 1e-6, 1e6, LOGITS))
    return g.softcap(out, c.number("final_logit_softcapping", 0, 1e6, 0.0))


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    yarn = s.text("rope_type", default="") in ("yarn", "original")  # the second has meant the same
    scaling = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": s.number("scaling_factor", default=1.0),
        "rope.scaling.original_context_length": s.integer("original_max_position_embeddings", default=8192),
        "rope.scaling.yarn_ext_factor": s.number("extrapolation_factor", default=1.0),
        "rope.scaling.yarn_attn_factor": s.number("attn_factor", default=1.0),
        "rope.scaling.yarn_beta_fast": s.number("beta_fast", default=8.0),
        "rope.scaling.yarn_beta_slow": s.number("beta_slow", default=1.0),
    }
    final, ffn = s.number("final_logit_softcapping", default=0.0), s.integer("moe_intermediate_size", default=0)
    return (
        decoder_keys(s)
        | (scaling if yarn else {})
        | {
            "attention.output_scale": s.number("attn_output_multiplier", default=s.head_dim**-0.5),
            "attn_logit_softcapping": s.number("attn_logit_softcapping", default=CAP),
            "router_logit_softcapping": s.number("router_logit_softcapping", default=CAP),
            "final_logit_softcapping": final or None,
            "embedding_scale": s.number("embedding_multiplier_scale"),
            "logit_scale": s.number("output_multiplier_scale"),
            "expert_feed_forward_length": ffn or None,
            "attention.temperature_length": s.integer("attn_temperature_len", default=0) or None,
        }
    )


MATRICES = {"linear": "w1", "linear_v": "w3", "linear_1": "w2"}
CONVERSION = Conversion(
    classes=("GrokForCausalLM", "Grok1ForCausalLM"),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "gelu_new"},
    keys=keys,
    steps={
        **{
            rf"^transformer\.decoder_layer\.(\d+)\.moe\.(\d+)\.{old}\.": renames(
                rf"model.layers.\1.block_sparse_moe.experts.\2.{new}."
            )
            for old, new in MATRICES.items()
        },
        r"^model\.(.*)\.block_sparse_moe\.experts\.": renames(r"\1.feed_forward.experts."),
    },
    activations=TANH_GELU,
)
