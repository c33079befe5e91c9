"""LFM2-8B-A1B and -24B-A2B (Liquid AI 2025, arXiv 2511.23404): LFM2 with a mixture of experts after the first blocks.

Experts are chosen by sigmoid scores with a bias; their weights are normalized.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, renames
from ..layers import Layers
from ..layers.decoder import gated_mlp, mixture_of_experts
from ..layers.hyperparameters import SIGMOID, Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .lfm2 import DEFAULTS, STEPS, decoder, hybrid_keys

PERIOD = 0  # no block has full attention where files say a window


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True)
    e = Experts.read(c, h)
    dense = [f"blk.{i}." for i in range(c.integer("leading_dense_block_count", 0, h.blocks, 0))]

    def feed_forward(h: Hyperparameters, b: Weights, x: Value) -> Value:
        if b.prefix in dense:
            return gated_mlp(g, h, b, x, g.swiglu)
        return mixture_of_experts(g, h, e, b, x, g.swiglu, normalize_weights=True)

    return decoder(g, h, c, w, vocab, feed_forward)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings of the router that GGUF cannot say."""
    if not s.flag("norm_topk_prob"):
        raise s.fail("norm_topk_prob is not true, and GGUF has no key for it")
    if s.number("routed_scaling_factor") != 1:
        raise s.fail("routed_scaling_factor is not 1, and GGUF has no key for it")
    s.find("use_expert_bias")  # the tensors say it
    return hybrid_keys(s) | {
        "expert_feed_forward_length": s.integer("moe_intermediate_size"),
        "leading_dense_block_count": s.integer("num_dense_layers"),
        "expert_gating_func": SIGMOID,
    }


ROUTER = {"norm_topk_prob": True, "routed_scaling_factor": 1.0, "num_dense_layers": 2}
NAMES = {
    r"^model\.(.*\.feed_forward\.experts\.)": renames(r"\1"),
    r"\.expert_bias$": renames(".expert_bias.bias"),
}
CONVERSION = Conversion(classes=("Lfm2MoeForCausalLM",), defaults=DEFAULTS | ROUTER, keys=keys, steps=STEPS | NAMES)
