"""Granite 3 and 4 with experts (Granite Team 2024): Granite's four scales, and at times an expert for all tokens."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, cuts, renames
from ..layers import Layers, Rope
from ..layers.decoder import attention_output, logits, mixture, norm, queries_keys_values, shared
from ..layers.hyperparameters import Experts, Hyper
from ..layers.metadata import Config
from ..layers.rope_scaling import rotation
from ..layers.weights import Weights
from ..runtime.graph import Value
from .granite import keys as granite_keys
from .llama import TURNED


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    e = Experts.read(c, h)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx), interleaved=True)
    score = c.number("attention.scale", 0, 1e6, 0.0) or h.head_dim**-0.5
    residual = c.number("residual_scale", 0, 1e6, 1.0) or 1.0
    x = g.scale(g.embed(embedding), c.number("embedding_scale", 0, 1e6, 1.0) or 1.0)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, g.scale(attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, score), residual))
        x = g.add(x, g.scale(feed_forward(g, h, e, b, norm(g, h, b, "ffn_norm", x)), residual))
    out = logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)
    return g.scale(out, 1 / c.number("logit_scale", 1e-6, 1e6))


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope, scale: float) -> Value:
    """Grouped-query attention with a scale that the file gives."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    g.turn(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=scale))


def feed_forward(g: Layers, h: Hyper, e: Experts, w: Weights, x: Value) -> Value:
    """The chosen experts, and the common one where there is one."""
    chosen = mixture(g, h, e, w, x, g.swiglu, renormed=True)
    return g.add(chosen, shared(g, h, e, w, x, g.swiglu)) if e.shared_ffn else chosen


def keys(s: Settings) -> Keys:
    """Keys of a Hugging Face folder."""
    return granite_keys(s) | {"expert_shared_feed_forward_length": s.integer("shared_intermediate_size", default=0)}


LAYER = r"^model\.layers\.(\d+)\."
CONVERSION = Conversion(
    classes=("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps=TURNED
    | {
        LAYER + r"block_sparse_moe\.input_linear": cuts(r"blk.\1.ffn_gate_exps", r"blk.\1.ffn_up_exps"),
        LAYER + r"block_sparse_moe\.output_linear": renames(r"blk.\1.ffn_down_exps"),
        LAYER + r"shared_mlp\.input_linear": cuts(r"blk.\1.ffn_gate_shexp", r"blk.\1.ffn_up_shexp"),
        LAYER + r"shared_mlp\.output_linear": renames(r"blk.\1.ffn_down_shexp"),
    },
)
