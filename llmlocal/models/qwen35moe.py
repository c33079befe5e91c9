"""Qwen3.5-35B-A3B and larger (Qwen Team 2026): Qwen3.5 with a mixture of experts and a shared expert in every block."""

from __future__ import annotations

from collections.abc import Callable

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, cuts, renames
from ..layers import Layers
from ..layers.decoder import Head, Sublayer
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.delta_net import DeltaNet, delta_net_decoder, delta_net_head
from ..layers.weights import Weights
from ..runtime.graph import Value
from .qwen2moe import feed_forward
from .qwen35 import DEFAULTS, STEPS, TURNS, delta_net
from .qwen35 import keys as dense_keys

Mix = Callable[[Layers, Hyperparameters, DeltaNet, Weights, Value], Value]  # the delta net of a block


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    return decoder_with_experts(g, c, w, vocab, delta_net)


def decoder_with_experts(g: Layers, c: Config, w: Weights, vocab: int, mix: Mix) -> Value:
    """Logits (outputs, vocab) of a decoder of delta nets and attention, with experts in every block."""
    h, d = Hyperparameters.read(c, w, dense=False), DeltaNet.read(c)
    return delta_net_decoder(g, h, c, w, vocab, lambda h, b, x: mix(g, h, d, b, x), experts(g, c, h))


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the block that predicts a further token. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, dense=False)
    return delta_net_head(g, h, c, w, vocab, experts(g, c, h))


def experts(g: Layers, c: Config, h: Hyperparameters) -> Sublayer:
    """The feed-forward: experts whose weights are normalized, and a shared one."""
    e = Experts.read(c, h)
    return lambda h, b, x: feed_forward(g, h, e, b, x, normalize_weights=True)


def expert_keys(s: Settings) -> Keys:
    """Sizes of the experts."""
    return {
        "expert_feed_forward_length": s.integer("moe_intermediate_size"),
        "expert_shared_feed_forward_length": s.integer("shared_expert_intermediate_size"),
    }


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return dense_keys(s) | expert_keys(s)


EXPERTS = {
    r"experts\.gate_up_proj$": cuts("experts.gate_proj.weight", "experts.up_proj.weight"),
    r"experts\.down_proj$": renames("experts.down_proj.weight"),
}
CONVERSION = Conversion(
    classes=("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"),
    defaults=DEFAULTS,
    keys=keys,
    steps=STEPS | TURNS | EXPERTS,
)
