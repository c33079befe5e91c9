"""Qwen1.5-MoE and Qwen2-57B-A14B (Yang et al. 2024, arXiv 2407.10671): routed experts and a shared expert.

The weights of the routed experts are not normalized; the shared expert is weighted by the sigmoid of its own score.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import mixture_of_experts, pre_norm_decoder, rope_attention, shared_expert
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.moe import scale_by_sigmoid
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    if not e.shared_ffn:
        raise c.fail(f"{c.arch}.expert_shared_feed_forward_length is missing")
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    return pre_norm_decoder(
        g,
        h,
        w,
        vocab,
        attention=lambda h, b, x: rope_attention(g, h, b, x, rope),
        feed_forward=lambda h, b, x: feed_forward(g, h, e, b, x),
    )


def feed_forward(
    g: Layers, h: Hyperparameters, e: Experts, w: Weights, x: Value, *, normalize_weights: bool = False
) -> Value:
    """The routed experts, plus the shared expert times its sigmoid weight."""
    routed = mixture_of_experts(g, h, e, w, x, g.swiglu, normalize_weights=normalize_weights)
    score = g.linear(x, w.vector("ffn_gate_inp_shexp.weight", h.width).as_row())
    return g.add(routed, scale_by_sigmoid(g, shared_expert(g, h, e, w, x, g.swiglu), score))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for normalized expert weights."""
    if s.flag("norm_topk_prob"):
        raise s.fail("norm_topk_prob is true, and GGUF has no key for it")
    return decoder_keys(s) | {
        "expert_feed_forward_length": s.integer("moe_intermediate_size"),
        "expert_shared_feed_forward_length": s.integer("shared_expert_intermediate_size"),
    }


CONVERSION = Conversion(
    classes=("Qwen2MoeForCausalLM",), defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0}, keys=keys
)
