"""Hunyuan 3 (Tencent 2026): Qwen3's attention; after the first blocks a mixture of experts with a shared expert, chosen
by sigmoid scores with a bias."""

from __future__ import annotations

from dataclasses import replace

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, renames
from ..layers import Layers
from ..layers.decoder import (
    Block,
    Head,
    decoder,
    gated_mlp,
    head,
    mixture_of_experts,
    pre_norm_block,
    shared_expert,
    without_predicting,
)
from ..layers.hyperparameters import SIGMOID, Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .qwen3 import attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    return decoder(g, without_predicting(c, h), w, vocab, blocks(g, c, w, h))


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the first block that predicts a further token. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    return head(g, h, c, w, vocab, blocks(g, c, w, h))


def blocks(g: Layers, c: Config, w: Weights, h: Hyperparameters) -> Block:
    """All blocks, by their numbers."""
    e = Experts.read(c, h, gating=SIGMOID)
    e = replace(e, shared_ffn=e.shared_ffn or e.ffn)
    normalize = c.flag("expert_weights_norm", True)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def feed_forward(h: Hyperparameters, b: Weights, x: Value) -> Value:
        if not b.has("ffn_gate_inp.weight"):
            return gated_mlp(g, h, b, x, g.swiglu)
        routed = mixture_of_experts(g, h, e, b, x, g.swiglu, normalize_weights=normalize)
        return g.add(routed, shared_expert(g, h, e, b, x, g.swiglu))

    return lambda _, h, b, x: pre_norm_block(g, h, b, x, lambda h, b, x: attention(g, h, b, x, rope), feed_forward)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    inner = s.integer("moe_intermediate_size")
    s.find("enable_moe_fp32_combine", "mlp_layer_types", "first_k_dense_replace")  # float32 always; the tensors say it
    return decoder_keys(s) | {
        "expert_feed_forward_length": inner,
        "expert_shared_feed_forward_length": inner * s.integer("num_shared_experts"),
        "expert_gating_func": SIGMOID,
        "expert_weights_norm": True,
        "expert_weights_scale": s.number("router_scaling_factor"),
        "vocab_size": s.integer("vocab_size"),
    }


CONVERSION = Conversion(
    classes=("HYV3ForCausalLM",),
    defaults=UNTIED
    | {"rms_norm_eps": 1e-5, "rope_theta": 11_158_840.0, "head_dim": 128}
    | {"num_shared_experts": 1, "router_scaling_factor": 2.826},
    keys=keys,
    steps={r"^(model\.layers\.\d+\.)final_layernorm\.": renames(r"\1shared_head.norm.")},
    named_as="exaone-moe",
)
