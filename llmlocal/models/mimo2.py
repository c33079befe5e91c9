"""MiMo-V2-Flash (Xiaomi 2026, arXiv 2601.02780): values smaller than keys, and a factor on what attention gives; most
blocks have a sliding window, sinks and more key heads; after the first block a mixture of experts, chosen by sigmoid
scores."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import (
    UNTIED,
    WITHOUT_MTP,
    Conversion,
    cuts,
    decoder_keys,
    drops,
    renames,
    rotary_keys,
    sliding_layers,
)
from ..hf.streams import Stream
from ..layers import Layers, Linear
from ..layers.decoder import (
    Block,
    Head,
    decoder,
    gated_mlp,
    head,
    mixture_of_experts,
    norm,
    slice_linear,
    without_predicting,
)
from ..layers.hyperparameters import SIGMOID, Experts, Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..runtime.graph import Value
from .dots1 import group_keys
from .jamba import DENSE
from .minicpm3 import head_sizes

PERIOD, WINDOW = 6, 128  # of files that do not say them


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, head_sizes=head_sizes)
    return decoder(g, without_predicting(c, h), w, vocab, blocks(g, c, w, h))


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the first block that predicts a further token. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, head_sizes=head_sizes)
    return head(g, h, c, w, vocab, blocks(g, c, w, h))


def blocks(g: Layers, c: Config, w: Weights, h: Hyperparameters) -> Block:
    """All blocks, by their numbers."""
    all_windows = windows(c, h.blocks, period=PERIOD, default=WINDOW)
    e = Experts.read(c, h, gating=SIGMOID)
    value = c.integer("attention.value_length", 1, 1 << 12, h.head_dim)
    factor = c.number("attention.value_scale", 0, 1e3, 1.0) or 1.0
    full = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    base = c.number("rope.freq_base_swa", 1e-3, 1e12, 10000.0)
    local = g.rope(unscaled_rope(h.rotary_dim, base), interleaved=False)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        window = all_windows[i]
        normed = norm(g, h, b, "attn_norm", x)
        x = g.add(x, g.scale(attention(g, h, value, b, normed, local if window else full, window), factor))
        normed = norm(g, h, b, "ffn_norm", x)
        if any(b.has(name) for name in DENSE):
            return g.add(x, gated_mlp(g, h, b, normed, g.swiglu))
        return g.add(x, mixture_of_experts(g, h, e, b, normed, g.swiglu, normalize_weights=True))

    return block


def attention(g: Layers, h: Hyperparameters, value: int, w: Weights, x: Value, rope: Rope, window: int | None) -> Value:
    """Grouped-query attention with values of the size `value`, and sinks if the file has them."""
    q, k, v = g.linears(x, *projections(h, value, w))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    sinks = w.maybe_vector("attn_sinks.weight", h.heads)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window, sinks=sinks)
    return g.linear(out, *w.linear("attn_output", h.width, h.heads * value))


def projections(h: Hyperparameters, value: int, w: Weights) -> tuple[Linear, Linear, Linear]:
    """As `qkv_weights`, for values of another size than keys."""
    q, k, v = h.q_dim, h.kv_dim, h.kv_heads * value
    if not w.has("attn_qkv.weight"):
        return w.linear("attn_q", q, h.width), w.linear("attn_k", k, h.width), w.linear("attn_v", v, h.width)
    fused = w.linear("attn_qkv", q + k + v, h.width)
    return slice_linear(fused, 0, q), slice_linear(fused, q, q + k), slice_linear(fused, q + k, q + k + v)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what GGUF cannot say of these models."""
    for name in ("head_dim", "v_head_dim", "num_attention_heads"):
        if s.integer(f"swa_{name}", default=s.integer(name)) != s.integer(name):
            raise s.fail(f"swa_{name} must be equal to {name}", "")
    if s.text("topk_method", default="noaux_tc") != "noaux_tc" or not s.flag("norm_topk_prob", default=True):
        raise s.fail("topk_method must be noaux_tc and norm_topk_prob true", "")
    if s.number("routed_scaling_factor", default=1.0) != 1:
        raise s.fail("routed_scaling_factor must be 1", "")
    s.find("mlp_layer_types", "moe_layer_freq", "scoring_func", "attention_chunk_size", "sliding_window_size")
    slides = [kind == 1 for kind in s.items("hybrid_layer_pattern")] or sliding_layers(s, period=PERIOD)
    heads = s.kv_heads, sliding_kv_heads(s)
    scale = s.find("attention_value_scale")
    return (
        decoder_keys(s)
        | rotary_keys(s)
        | group_keys(s)
        | {
            "attention.head_count_kv": [heads[here] for here in slides],
            "attention.value_length": s.integer("v_head_dim"),
            "attention.value_scale": None if scale is None else s.number("attention_value_scale"),
            "attention.sliding_window": s.integer("sliding_window"),
            "attention.sliding_window_pattern": slides,
            "attention.layer_norm_rms_epsilon": s.number("rms_norm_eps", "layernorm_epsilon"),
            "attention.layer_norm_epsilon": None,
            "expert_feed_forward_length": s.integer("moe_intermediate_size"),
        }
    )


def sliding_kv_heads(s: Settings) -> int:
    """Key heads of blocks with a window."""
    return s.integer("swa_num_key_value_heads", default=2 * s.kv_heads)


def of_predictor(s: Settings) -> Keys:
    """The blocks that predict further tokens have a window."""
    return {"attention.head_count_kv": sliding_kv_heads(s), "attention.sliding_window_pattern": True}


def plain(s: Settings, x: Stream) -> Stream:
    """A fused projection. Raises BadFileError where it is quantized: its rows are then in parts, one for each GPU."""
    if s.find("quantization_config") is not None:
        raise s.fail("qkv_proj of a quantized folder is stored in parts, which is not supported", "")
    return x


CONVERSION = Conversion(
    classes=("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM"),
    defaults=UNTIED | {"rope_theta": 5e6, "rms_norm_eps": 1e-5, "head_dim": 192, "v_head_dim": 128},
    keys=keys,
    of_predictor=of_predictor,
    own_names=("blk.{}.layer_output_norm",),
    steps={
        r"^model\.mtp\.": drops(WITHOUT_MTP),
        r"\.pre_mlp_layernorm\.": renames(".post_attention_layernorm."),
        r"^model\.layers\.(\d+)\.final_layernorm\.": renames(r"blk.\1.layer_output_norm."),
        r"qkv_proj\.weight$": plain,
        r"\.(attention_sink_bias|sinks)$": renames(r".\1.weight"),
        r"\.e_score_correction_bias$": renames(".e_score_correction.bias"),
        r"(?<=experts\.)gate_up_proj$": cuts("gate_proj.weight", "up_proj.weight"),
    },
)
