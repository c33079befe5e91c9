"""Granite with sliding windows (Granite Team 2026): Granite's scale factors, a sink score for each head, a window in
three of four blocks, blocks without rotary embedding, and in some models a mixture of experts with a shared expert."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, Conversion, renames
from ..layers import Layers
from ..layers.decoder import (
    attention_output,
    decoder,
    gated_mlp,
    mixture_of_experts,
    pre_norm_block,
    qkv_weights,
    slice_linear,
)
from ..layers.hyperparameters import Experts, Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .granite import keys as granite_keys
from .granitemoe import LAYER
from .llama import PERMUTED_QK

PERIOD = 4  # the last of so many blocks has full attention in files that do not say which


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h) if c.integer("expert_count", 0, 1 << 12, 0) else None
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    rotates = c.flags("attention.rope_pattern", h.blocks) or [True] * h.blocks
    all_windows = windows(c, h.blocks, period=PERIOD)
    score_scale = c.number("attention.scale", 0, 1e6, 0.0) or h.head_dim**-0.5
    residual_scale = c.number("residual_scale", 0, 1e6, 1.0) or 1.0

    def feed_forward(h: Hyperparameters, b: Weights, x: Value) -> Value:
        return routed_and_shared(g, h, e, b, x) if e else gated_mlp(g, h, b, x, g.swiglu)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        def attend(h: Hyperparameters, b: Weights, x: Value) -> Value:
            return attention(g, h, b, x, rope if rotates[i] else None, all_windows[i], score_scale)

        return pre_norm_block(g, h, b, x, attend, feed_forward, residual_scale=residual_scale)

    embedding_scale = c.number("embedding_scale", 0, 1e6, 1.0) or 1.0
    out = decoder(g, h, w, vocab, block, embedding_scale=embedding_scale)
    return g.scale(out, 1 / c.number("logit_scale", 1e-6, 1e6))


def attention(
    g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope | None, window: int | None, scale: float
) -> Value:
    """Grouped-query attention with a learned sink score for each head; not rotated without `rope`."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    if rope is not None:
        g.apply_rope(rope, q, k, head_dim=h.head_dim)
    sinks = w.vector("attn_sinks.weight", h.heads)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=scale, window=window, sinks=sinks))


def routed_and_shared(g: Layers, h: Hyperparameters, e: Experts, w: Weights, x: Value) -> Value:
    """The routed experts, plus the shared expert if the model has one, whose gate and up projections are one tensor."""
    routed = mixture_of_experts(g, h, e, w, x, g.swiglu, normalize_weights=True)
    if not e.shared_ffn:
        return routed
    fused = w.linear("ffn_up_shexp", 2 * e.shared_ffn, h.width)
    gate, up = g.linears(x, slice_linear(fused, 0, e.shared_ffn), slice_linear(fused, e.shared_ffn, 2 * e.shared_ffn))
    return g.add(routed, g.linear(g.swiglu(gate, up), *w.linear("ffn_down_shexp", h.width, e.shared_ffn)))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for layers whose rotary base differs."""
    blocks = min(s.integer("num_hidden_layers"), MAX_LAYERS)
    kinds = s.items("layer_types") or ["sliding_attention" if i % PERIOD else "full_attention" for i in range(blocks)]
    bases = s.items("layer_rope_theta")
    if len({base for base in bases if base}) > 1:
        raise s.fail("layer_rope_theta has several bases, and GGUF has a key for one", "")
    if base := next((base for base in bases if base), None):
        s.rope["rope_theta"] = base
    rotates = bases or s.items("no_rope_layers")
    shared = s.integer("shared_intermediate_size", default=0)
    return granite_keys(s) | {
        "attention.sliding_window": s.integer("sliding_window"),
        "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in kinds],
        "attention.rope_pattern": [bool(rotated) for rotated in rotates] or None,
        "expert_shared_feed_forward_length": shared or None,
    }


MOE = LAYER + r"block_sparse_moe\."
CONVERSION = Conversion(
    classes=("GraniteSWAForCausalLM", "GraniteMoeSWAForCausalLM"),
    defaults={"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 128},
    keys=keys,
    steps=PERMUTED_QK
    | {
        MOE + r"router\.weight$": renames(r"blk.\1.ffn_gate_inp.weight"),
        MOE + r"(?:input_linear\.weight|experts\.gate_up_proj)$": renames(r"blk.\1.ffn_gate_up_exps.weight"),
        MOE + r"(?:output_linear\.weight|experts\.down_proj)$": renames(r"blk.\1.ffn_down_exps.weight"),
        LAYER + r"shared_mlp\.input_linear": renames(r"blk.\1.ffn_up_shexp"),
        LAYER + r"shared_mlp\.output_linear": renames(r"blk.\1.ffn_down_shexp"),
        LAYER + r"self_attn\.sinks$": renames(r"blk.\1.attn_sinks.weight"),
    },
    named_as="dots1",
    own_names=("blk.{}.attn_sinks", "blk.{}.ffn_gate_up_exps"),
)
