"""SmallThinker (Song et al. 2025, arXiv 2507.20984): a mixture of experts with gates of ReLU, chosen before attention;
in some models three of four blocks have a sliding window, and the fourth no rotary embedding."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import decoder, norm, rope_attention, scored_experts
from ..layers.hyperparameters import SIGMOID, SOFTMAX, Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value

PERIOD = 4  # the first of every four blocks has full attention without rotary embedding, where there is a window


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    window = c.integer("attention.sliding_window", 0, 1 << 31, 0)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        scores = g.linear(x, *b.linear("ffn_gate_inp", e.count, h.width))
        slides = window > 0 and i % PERIOD != 0
        turned, seen = rope if slides or not window else None, window if slides else None
        x = g.add(x, rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), turned, window=seen))
        normed = norm(g, h, b, "ffn_norm", x)
        return g.add(x, scored_experts(g, h, e, b, normed, scores, relu_gate, normalize_weights=True))

    def relu_gate(gate: Value, up: Value) -> Value:
        return g.multiply(g.relu(gate), up)

    return decoder(g, h, w, vocab, block)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for another pattern of windows and rotary embedding."""
    ffn, count = s.integer("moe_ffn_hidden_size"), s.integer("num_hidden_layers")
    slides, turned = (_layout(s, name, default) for name, default in (("sliding_window_layout", 0), ("rope_layout", 1)))
    plain = not any(slides) and all(turned)
    pattern = [i % PERIOD != 0 for i in range(len(slides))]
    if not plain and (len(slides) != count or not slides == turned == pattern):
        raise s.fail(
            "sliding_window_layout and rope_layout must leave out the first of every four layers: GGUF has no other", ""
        )
    if any(s.find(name) for name in ("moe_enable_secondary_experts", "moe_shared_primary_experts", "use_qk_norm")):
        raise s.fail("secondary or shared experts and norms of queries and keys are not supported", "")
    window = s.integer("sliding_window_size", default=4096)
    s.find("moe_layer_layout", "moe_enable_early_router", "dense_ffn_hidden_size", "sliding_window", "model_name")
    return decoder_keys(s) | {
        "feed_forward_length": ffn,
        "expert_count": s.integer("moe_num_primary_experts"),
        "expert_used_count": s.integer("moe_num_active_primary_experts"),
        "expert_feed_forward_length": ffn,
        "expert_gating_func": SOFTMAX if s.flag("moe_primary_router_apply_softmax") else SIGMOID,
        "attention.sliding_window": None if plain else window,
    }


def _layout(s: Settings, name: str, default: int) -> list[bool]:
    """A flag for each layer."""
    return [bool(flag) for flag in s.items(name)] or [bool(default)]


CONVERSION = Conversion(
    classes=("SmallThinkerForCausalLM",),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 1e6, "moe_num_active_primary_experts": 4, "hidden_act": "relu"},
    keys=keys,
    activations=("relu",),
)
