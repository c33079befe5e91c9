"""Granite 3 and 4 with experts (Granite Team 2024): Granite's scale factors, a mixture of
experts, and in some models a shared expert."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, cuts, renames
from ..layers import Layers
from ..layers.decoder import attention_output, logits, mixture_of_experts, norm, qkv_weights, shared_expert
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .granite import keys as granite_keys
from .llama import PERMUTED_QK


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    score_scale = c.number("attention.scale", 0, 1e6, 0.0) or h.head_dim**-0.5
    residual_scale = c.number("residual_scale", 0, 1e6, 1.0) or 1.0
    x = g.scale(g.embed(embedding), c.number("embedding_scale", 0, 1e6, 1.0) or 1.0)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, g.scale(attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, score_scale), residual_scale))
        x = g.add(x, g.scale(feed_forward(g, h, e, b, norm(g, h, b, "ffn_norm", x)), residual_scale))
    out = logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)
    return g.scale(out, 1 / c.number("logit_scale", 1e-6, 1e6))


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, scale: float) -> Value:
    """Grouped-query attention; the file gives the scale of the scores."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=scale))


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
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps=PERMUTED_QK
    | {
        LAYER + r"block_sparse_moe\.input_linear": cuts(r"blk.\1.ffn_gate_exps", r"blk.\1.ffn_up_exps"),
        LAYER + r"block_sparse_moe\.output_linear": renames(r"blk.\1.ffn_down_exps"),
        LAYER + r"shared_mlp\.input_linear": cuts(r"blk.\1.ffn_gate_shexp", r"blk.\1.ffn_up_shexp"),
        LAYER + r"shared_mlp\.output_linear": renames(r"blk.\1.ffn_down_shexp"),
    },
)
