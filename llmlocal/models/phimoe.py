"""Phi-3.5-MoE (Abdin et al. 2024, arXiv 2404.14219): Phi-3 with layer norms, biases, and two experts for each token,
which are weighted as SparseMixer does it.

llama.cpp computes RMS norms and weights that sum to 1 in their places; the reference does not.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, longrope_factors, longrope_keys, plain_window_keys
from ..layers import Layers
from ..layers.decoder import routed_experts
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.moe import route_by_sparse_mixer
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import norm
from .phi3 import windowed_decoder

USED = 2  # experts of each token
JITTER = 0.01  # of the router, for which GGUF has no key


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    e = Experts.read(c, Hyperparameters.read(c, w))
    if e.used != USED:
        raise c.fail(f"{c.arch}.expert_used_count is {e.used}, must be {USED}")

    def experts(g: Layers, h: Hyperparameters, b: Weights, x: Value) -> Value:
        scores = g.linear(x, *b.linear("ffn_gate_inp", e.count, h.width))
        return routed_experts(g, h, e, b, x, route_by_sparse_mixer(g, scores, e.used, JITTER), g.swiglu)

    return windowed_decoder(g, c, w, vocab, norm, experts)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for another router, and for two scales of rotated values."""
    if s.number("router_jitter_noise") != JITTER or s.integer("num_experts_per_tok") != USED:
        raise s.fail(f"router_jitter_noise must be {JITTER} and num_experts_per_tok {USED}: GGUF has no key for others")
    s.find("lm_head_bias", "input_jitter_noise")  # tensors say the one, training has the other
    short, long = (s.rope.get(f"{size}_mscale") for size in ("short", "long"))
    if short != long:
        raise s.fail("short_mscale and long_mscale of RoPE scaling differ, and GGUF has one key for them")
    if short is not None:
        s.rope["attention_factor"] = short
    return decoder_keys(s) | longrope_keys(s) | plain_window_keys(s)


CONVERSION = Conversion(
    classes=("PhimoeForCausalLM", "PhiMoEForCausalLM"),
    defaults=UNTIED
    | {
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "router_jitter_noise": JITTER,
        "num_experts_per_tok": USED,
        "num_local_experts": 16,
    },
    keys=keys,
    extra=longrope_factors,
)
