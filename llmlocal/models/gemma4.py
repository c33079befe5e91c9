"""Gemma 4, text (Google 2026): blocks with a window have heads of their own size, the last blocks attend to keys and
values of earlier ones, and small models read an embedding in every block. Scores are not scaled, values are normed."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import (
    Conversion,
    decoder_keys,
    drops_if_tied,
    proportional_factors,
    renames,
    sliding_layers,
)
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.decoder import attention_output, gated_mlp, last_logits, norm, scaled_output, scored_experts
from ..layers.gemma.per_layer_inputs import PerLayerInputs
from ..layers.hyperparameters import Experts, Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..runtime.graph import Value
from ..runtime.kv_cache import LayerCache

PERIOD = 6  # the last of so many blocks has full attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h) if c.integer("expert_count", 0, 1 << 12, 0) else None
    embedding, local = w.matrix("token_embd.weight", vocab, h.width), h.windowed(c)
    full_rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    base = c.number("rope.freq_base_swa", 1e-3, 1e12, 10000.0)
    local_rope = g.rope(unscaled_rope(local.rotary_dim, base), interleaved=False)
    x = g.scale(g.embed(embedding), h.width**0.5)
    inputs = PerLayerInputs(c, h, w, vocab, x)
    own = h.blocks - c.integer("attention.shared_kv_layers", 0, h.blocks, 0)  # blocks with keys of their own
    stored = g.last_keys
    for i, window in enumerate(windows(c, h.blocks, period=PERIOD)):
        s, b = (local if window else h).block(i), w.block(i)
        keys, rope = stored.get(window) if i >= own else None, local_rope if window else full_rope
        x, stored[window] = sublayers(g, s, e, b, x, rope, window, keys)
        x = scaled_output(g, b, inputs.add_to(g, s, b, x, i))
    return g.softcap(last_logits(g, h, w, x, embedding), c.number("final_logit_softcapping", 0, 1e6, 0.0))


def sublayers(
    g: Layers,
    h: Hyperparameters,
    e: Experts | None,
    w: Weights,
    x: Value,
    rope: Rope,
    window: int | None,
    stored: LayerCache | None,
) -> tuple[Value, LayerCache]:
    """x (tokens, width) with the attention and the feed-forward of a block, and the keys and values it attends to."""
    attended, stored = attention(g, h, w, norm(g, h, w, "attn_norm", x), rope, window, stored)
    x = g.add(norm(g, h, w, "post_attention_norm", attended), x)
    return g.add(norm(g, h, w, "post_ffw_norm", feed_forward(g, h, e, w, x)), x), stored


def attention(
    g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, window: int | None, stored: LayerCache | None
) -> tuple[Value, LayerCache]:
    """Attention to `stored` keys and values, or to the block's own; without a matrix for values they are the keys."""
    names = [name for name in ("attn_k", "attn_v") if stored is None and (name == "attn_k" or w.has("attn_v.weight"))]
    linears = (w.linear(name, h.kv_dim, h.width) for name in names)
    q, *kv = g.linears(x, w.linear("attn_q", h.q_dim, h.width), *linears)
    q = g.norm(q, w.vector("attn_q_norm.weight", h.head_dim), h.eps)
    g.apply_rope(rope, q, head_dim=h.head_dim)
    if stored is None:
        k = g.norm(kv[0], w.vector("attn_k_norm.weight", h.head_dim), h.eps)
        v = g.unit_norm(kv[-1], h.head_dim, h.eps)
        g.apply_rope(rope, k, head_dim=h.head_dim)
        stored = g.keys_values(k, v, head_dim=h.head_dim, window=window)
    return attention_output(g, h, w, g.attend(q, stored, scale=1.0)), stored


def feed_forward(g: Layers, h: Hyperparameters, e: Experts | None, w: Weights, x: Value) -> Value:
    """The MLP, plus the experts of models that have some; their router reads x under a norm of its own."""
    mlp = gated_mlp(g, h, w, norm(g, h, w, "ffn_norm", x), g.geglu)
    if e is None:
        return mlp
    read = g.norm(x, w.vector("ffn_gate_inp.scale", h.width), h.eps)
    scores = g.scale(g.linear(read, *w.linear("ffn_gate_inp", e.count, h.width)), h.width**-0.5)
    normed = norm(g, h, w, "pre_ffw_norm_2", x)
    routed = scored_experts(g, h, e, w, normed, scores, g.geglu, normalize_weights=True)
    return g.add(norm(g, h, w, "post_ffw_norm_1", mlp), norm(g, h, w, "post_ffw_norm_2", routed))


def head_dim(s: Settings) -> int:
    """Size of the heads of blocks without a window."""
    return s.layer_size("global_head_dim", "head_dim", 512)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    if s.find("use_bidirectional_attention") == "all":
        raise s.fail("use_bidirectional_attention is 'all', and GGUF has no key for it")
    blocks, shared = s.integer("num_hidden_layers"), s.integer("num_kv_shared_layers", default=0)
    ffn, slides = s.integer("intermediate_size"), sliding_layers(s, period=PERIOD)
    out = decoder_keys(s) | {f"attention.{kind}_length": head_dim(s) for kind in ("key", "value")}
    if s.flag("attention_k_eq_v"):
        full = s.layer_size("num_global_key_value_heads", "num_key_value_heads", s.kv_heads)
        out["attention.head_count_kv"] = [s.kv_heads if window else full for window in slides]
    if s.flag("use_double_wide_mlp"):
        out["feed_forward_length"] = [ffn * (1 + (i + shared >= blocks)) for i in range(len(slides))]
    return out | {
        "attention.key_length_swa": s.head_dim,
        "attention.value_length_swa": s.head_dim,
        "attention.shared_kv_layers": shared,
        "attention.sliding_window": s.integer("sliding_window"),
        "attention.sliding_window_pattern": slides,
        "embedding_length_per_layer_input": s.integer("hidden_size_per_layer_input", default=0),
        "expert_feed_forward_length": s.integer("moe_intermediate_size") if s.flag("enable_moe_block") else None,
        "final_logit_softcapping": s.number("final_logit_softcapping", default=0.0),
        "rope.dimension_count": head_dim(s),
        "rope.dimension_count_swa": s.head_dim,
    }


ROPE = {
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
LAYER = r"^model\.layers\.(\d+)\."
CONVERSION = Conversion(
    classes=("Gemma4ForCausalLM", "Gemma4ForConditionalGeneration", "Gemma4UnifiedForConditionalGeneration"),
    defaults={"rms_norm_eps": 1e-6, "head_dim": 256, "sliding_window": 512, "rope_parameters": ROPE},
    keys=keys,
    extra=lambda s: proportional_factors(s, head_dim(s)),
    steps={
        r"\.layer_scalar$": renames(".layer_scalar.weight"),
        LAYER + r"experts\.(gate_up|down)_proj$": renames(r"blk.\1.ffn_\2_exps.weight"),
        LAYER + r"router\.scale$": renames(r"blk.\1.ffn_gate_inp.scale"),
        LAYER + r"router\.per_expert_scale$": renames(r"blk.\1.ffn_down_exps.scale"),
        r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True),
    },
    activations=TANH_GELU,
    ranked_merges="gemma4",
)
