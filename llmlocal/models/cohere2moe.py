"""Command models with experts (Cohere 2026): Command A's parallel blocks, in which a mixture of experts, averaged with
shared experts, takes the place of the MLP behind some leading dense blocks."""

from __future__ import annotations

from dataclasses import replace

from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, Conversion, sliding_layers
from ..layers import Layers
from ..layers.decoder import Norm, decoder, gated_mlp, mixture_of_experts, rope_attention, shared_expert
from ..layers.decoder import norm as rms_norm
from ..layers.hyperparameters import SIGMOID, SOFTMAX, Experts, Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .cohere2 import CONVERSION as COHERE2
from .cohere2 import keys as cohere2_keys
from .command_r import logit_scale
from .command_r import norm as layer_norm

PERIOD = 4  # the last of so many blocks has full attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    all_windows = windows(c, h.blocks, period=PERIOD)
    h = replace(h, blocks=h.blocks - c.integer("nextn_predict_layers", 0, h.blocks - 1, 0))  # MTP's are not run
    e = Experts.read(c, h, gating=SIGMOID)
    shared = c.integer("expert_shared_count", 0, 1 << 10, 0)
    e = replace(e, shared_ffn=(e.shared_ffn or shared * e.ffn) if shared else 0)
    normalize = c.flag("expert_weights_norm", False)
    dense = c.integer("leading_dense_block_count", 0, h.blocks, 0)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    norm: Norm = rms_norm if c.number("attention.layer_norm_rms_epsilon", 0, 1, 0.0) else layer_norm

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed, window = norm(g, h, b, "attn_norm", x), all_windows[i]
        attended = rope_attention(g, h, b, normed, rope if window or i < dense else None, window=window)
        if i < dense:
            return g.add(g.add(x, attended), gated_mlp(g, h, b, normed, g.swiglu))
        made = mixture_of_experts(g, h, e, b, normed, g.swiglu, normalize_weights=normalize)
        if e.shared_ffn:
            made = g.scale(g.add(made, shared_expert(g, h, e, b, normed, g.swiglu)), 0.5)
        return g.add(g.add(x, attended), made)

    return g.scale(decoder(g, h, w, vocab, block, norm), logit_scale(c))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what GGUF cannot say of these models."""
    blocks, kinds = min(s.integer("num_hidden_layers"), MAX_LAYERS), s.items("mlp_layer_types")
    dense = kinds.count("dense") if kinds else s.integer("first_k_dense_replace", default=0)
    shared, function = s.integer("num_shared_experts"), s.text("expert_selection_fn")
    if kinds and kinds != ["dense"] * dense + ["sparse"] * (len(kinds) - dense):
        raise s.fail("mlp_layer_types must be dense in the first layers, and sparse in all others", "")
    if dense and s.integer("prefix_dense_sliding_window_pattern") != 1:
        raise s.fail("prefix_dense_sliding_window_pattern must be 1", "")
    if shared and s.text("shared_expert_combination_strategy") != "average":
        raise s.fail("shared_expert_combination_strategy must be average", "")
    if function not in ("softmax", "sigmoid"):
        raise s.fail(f"expert_selection_fn {function!r:.40} is not supported", "")
    period, ffn = s.integer("sliding_window_pattern"), s.integer("intermediate_size")
    slides = [i >= dense and (i - dense + 1) % max(period, 1) > 0 for i in range(blocks)]
    s.values.setdefault("layer_types", ["sliding_attention" if yes else "full_attention" for yes in slides])
    s.find("norm_topk_prob", "num_nextn_predict_layers")
    return cohere2_keys(s) | {
        "attention.sliding_window_pattern": sliding_layers(s, period=PERIOD),
        "feed_forward_length": s.integer("prefix_dense_intermediate_size", default=ffn),
        "expert_feed_forward_length": ffn,
        "expert_shared_count": shared or None,
        "expert_shared_feed_forward_length": shared * ffn or None,
        "expert_gating_func": SOFTMAX if function == "softmax" else SIGMOID,
        "expert_weights_norm": function == "softmax" or s.flag("norm_topk_prob"),
        "leading_dense_block_count": dense,
        "vocab_size": s.integer("vocab_size"),
    }


MORE = {"num_shared_experts": 0, "shared_expert_combination_strategy": "average", "expert_selection_fn": "softmax"}
MORE |= {"prefix_dense_sliding_window_pattern": 1, "sliding_window_pattern": 4, "norm_topk_prob": True}
CONVERSION = Conversion(
    classes=("Cohere2MoeForCausalLM",), defaults={**COHERE2.defaults, **MORE}, keys=keys, named_as="dots1"
)
