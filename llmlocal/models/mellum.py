"""Mellum 2 (JetBrains 2026): Qwen3's attention, a mixture of experts in every block, and a sliding window in some
blocks, whose RoPE is not scaled."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, WITHOUT_MTP, Conversion, drops, sliding_layers
from ..layers import Layers
from ..layers.decoder import decoder, mixture_of_experts, norm
from ..layers.hyperparameters import Experts, Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..runtime.graph import Value
from .qwen3 import attention
from .qwen3moe import keys as mixture_keys

PERIOD = 4  # the last of so many blocks has full attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    full = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    base = c.number("rope.freq_base_swa", 1e-3, 1e12, c.number("rope.freq_base", 1e-3, 1e12, 10000.0))
    local = g.rope(unscaled_rope(h.rotary_dim, base), interleaved=False)
    all_windows = windows(c, h.blocks, period=PERIOD)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        window = all_windows[i]
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), local if window else full, window))
        normed = norm(g, h, b, "ffn_norm", x)
        return g.add(x, mixture_of_experts(g, h, e, b, normed, g.swiglu, normalize_weights=True))

    return decoder(g, h, w, vocab, block)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for layers without experts, and as `qwen3moe.keys`."""
    if "dense" in s.items("mlp_layer_types"):
        raise s.fail("mlp_layer_types has 'dense', this architecture has experts in every layer", "")
    if s.local_rope.get("rope_type", "default") != "default":
        raise s.fail("RoPE of layers with a sliding window is scaled, and GGUF has no key for it", "")
    out = mixture_keys(s)
    if s.items("layer_types") and s.find("sliding_window"):
        out["attention.sliding_window"] = s.integer("sliding_window")
        out["attention.sliding_window_pattern"] = sliding_layers(s, period=PERIOD)
    return out


CONVERSION = Conversion(
    classes=("MellumForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "head_dim": 128, "norm_topk_prob": True},
    keys=keys,
    steps={r"^mtp\.": drops(WITHOUT_MTP)},
    named_as="qwen3moe",
)
