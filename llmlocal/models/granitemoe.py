"""Granite 3 and 4 with experts (Granite Team 2024): Granite's scale factors, a mixture of
experts, and in some models a shared expert."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, cuts, renames
from ..layers import Layers
from ..layers.decoder import mixture_of_experts, shared_expert
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .granite import keys as granite_keys
from .granite import scaled_decoder
from .llama import PERMUTED_QK


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    return scaled_decoder(g, c, h, w, vocab, lambda h, b, x: feed_forward(g, h, e, b, x))


def feed_forward(g: Layers, h: Hyperparameters, e: Experts, w: Weights, x: Value) -> Value:
    """The routed experts, plus the shared expert if the model has one."""
    routed = mixture_of_experts(g, h, e, w, x, g.swiglu, normalize_weights=True)
    return g.add(routed, shared_expert(g, h, e, w, x, g.swiglu)) if e.shared_ffn else routed


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return granite_keys(s) | {"expert_shared_feed_forward_length": s.integer("shared_intermediate_size", default=0)}


LAYER = r"^model\.layers\.(\d+)\."
CONVERSION = Conversion(
    classes=("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps=PERMUTED_QK
    | {
        LAYER + r"block_sparse_moe\.input_linear": cuts(r"blk.\1.ffn_gate_exps", r"blk.\1.ffn_up_exps"),
        LAYER + r"block_sparse_moe\.output_linear": renames(r"blk.\1.ffn_down_exps"),
        LAYER + r"shared_mlp\.input_linear": cuts(r"blk.\1.ffn_gate_shexp", r"blk.\1.ffn_up_shexp"),
        LAYER + r"shared_mlp\.output_linear": renames(r"blk.\1.ffn_down_shexp"),
    },
)
