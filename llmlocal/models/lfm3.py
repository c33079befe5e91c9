"""LFM3 (Liquid AI 2026): LFM2 with longer convolutions, norms before and after each operator and MLP, a gate for each
head of what attention gives, and a sliding window in half of the blocks with attention. Those have a RoPE base of their
own; the others rotate a part of each head."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, Conversion, decoder_keys, proportional_factors, renames
from ..layers import Layers
from ..layers.decoder import gated_mlp, logits, norm
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import qwen3
from .lfm2 import STEPS, short_conv
from .step35 import attention as gated_attention

PERIOD = 0  # of files that do not say which blocks have a window, all have
KINDS = ("conv", "full_attention", "sliding_attention")


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    full = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    local = g.rope(unscaled_rope(h.rotary_dim, c.number("rope.freq_base_swa", 1e-3, 1e12, 10000.0)), interleaved=False)
    size, x = c.integer("shortconv.l_cache", 2, 16), g.embed(embedding)

    def after(h: Hyperparameters, b: Weights, name: str, x: Value) -> Value:
        return norm(g, h, b, name, x) if b.has(f"{name}.weight") else x

    for i, window in enumerate(windows(c, h.blocks, period=PERIOD)):
        h, b = h.block(i), w.block(i)
        n = norm(g, h, b, "attn_norm", x)
        if h.kv_heads:
            attention = gated_attention if b.has("attn_gate.weight") else qwen3.attention
            mixed = attention(g, h, b, n, local if window else full, window)
        else:
            mixed = short_conv(g, h, b, n, size)
        x = g.add(x, after(h, b, "post_attention_norm", mixed))
        x = g.add(x, after(h, b, "post_ffw_norm", gated_mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.swiglu)))
    return logits(g, h, w, norm(g, h, w, "token_embd_norm", g.outputs(x)), embedding)


def keys(s: Settings) -> Keys:
    """Metadata from config.json, blocks with a convolution having no key heads. Raises BadFileError for biases."""
    if s.flag("conv_bias"):
        raise s.fail("conv_bias is true, and GGUF has no tensor for it")
    s.find("use_sandwich_norm", "use_attention_gate")  # the tensors say it
    s.note("llama.cpp does not know this architecture")
    layers = range(min(s.integer("num_hidden_layers"), MAX_LAYERS))
    kinds = s.items("layer_types") or [KINDS[1 if i % 4 == 2 else 2 if i % 4 == 0 and i else 0] for i in layers]
    if odd := next((kind for kind in kinds if kind not in KINDS), None):
        raise s.fail(f"layer_types has {odd!r:.40}; this architecture has {', '.join(KINDS)}")
    return decoder_keys(s) | {
        "attention.head_count_kv": [0 if kind == "conv" else s.kv_heads for kind in kinds],
        "attention.sliding_window": s.integer("sliding_window"),
        "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in kinds],
        "shortconv.l_cache": s.integer("conv_L_cache"),
        "vocab_size": s.integer("vocab_size"),
    }


ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.5},
}
CONVERSION = Conversion(
    classes=("Lfm3ForCausalLM", "Lfm3Model"),
    defaults={"norm_eps": 1e-5, "conv_L_cache": 7, "sliding_window": 256, "head_dim": 128, "rope_parameters": ROPE}
    | {"tie_word_embeddings": True},
    keys=keys,
    steps=STEPS
    | {
        r"^model\.layers\.(\d+)\.post_operator_norm\.": renames(r"blk.\1.post_attention_norm."),
        r"^model\.layers\.(\d+)\.post_ffn_norm\.": renames(r"blk.\1.post_ffw_norm."),
        r"^model\.layers\.(\d+)\.self_attn\.(?:g|gate)_proj\.": renames(r"blk.\1.attn_gate."),
    },
    extra=lambda s: proportional_factors(s, s.head_dim) if s.rope.get("rope_type") == "proportional" else {},
    named_as="lfm2",
    own_names=("blk.{}.post_attention_norm", "blk.{}.post_ffw_norm", "blk.{}.attn_gate"),
)
