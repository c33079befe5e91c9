"""Llama 4, text (Meta 2025): three of four blocks attend within chunks of the context and have rotary embedding; the
fourth attends to all tokens, with queries scaled by their position. A mixture of experts with a shared one in every
block or in some; the weight of an expert multiplies what it reads."""

from __future__ import annotations

from dataclasses import replace

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, llama3_factors, renames, swaps
from ..hf.streams import Stream, split, transposed
from ..layers import Layers
from ..layers.decoder import attention_output, decoder, gate_up_experts, gated_mlp, norm, qkv_weights, shared_expert
from ..layers.hyperparameters import SIGMOID, Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.moe import expert_linears, in_order, route_with_bias, sorted_expert_linear, weighted
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from ..runtime.windows import Chunk

WINDOW, SCALE, EVERY, PERIOD = 8192, 0.1, 8192, 4  # of published models, whose files do not say them
Kind = tuple[Rope | None, Chunk | None, bool, tuple[float, int] | None]  # of attention, see there
UNNORMED = 128  # experts of the model whose queries and keys have no norm


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h, gating=SIGMOID)
    if e.used != 1:
        raise c.fail(f"{c.arch}.expert_used_count is {e.used}, must be 1")
    e, step = replace(e, shared_ffn=e.ffn), c.integer("interleave_moe_layer_step", 1, h.blocks)
    chunk = Chunk(c.integer("attention.sliding_window", 0, 1 << 31, WINDOW))
    scale, every = (
        c.number("attention.temperature_scale", 0, 1e3, SCALE),
        c.integer("attention.temperature_length", 1, 1 << 31, EVERY),
    )
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        local, normed = not chunk or (i + 1) % PERIOD > 0, norm(g, h, b, "attn_norm", x)
        kind: Kind = (rope, chunk or None, e.count != UNNORMED, None) if local else (None, None, False, (scale, every))
        x = g.add(x, attention(g, h, b, normed, *kind))
        normed = norm(g, h, b, "ffn_norm", x)
        mixed = experts(g, h, e, b, normed) if (i + 1) % step == 0 else gated_mlp(g, h, b, normed, g.swiglu)
        return g.add(x, mixed)

    return decoder(g, h, w, vocab, block)


def attention(
    g: Layers,
    h: Hyperparameters,
    w: Weights,
    x: Value,
    rope: Rope | None,
    chunk: Chunk | None,
    normalized: bool,
    position_scale: tuple[float, int] | None,
) -> Value:
    """Grouped-query attention; norms of queries and keys, after rotary embedding, have no weights."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    if rope is not None:
        g.apply_rope(rope, q, k, head_dim=h.head_dim)
    if normalized:
        q, k = g.unit_norm(q, h.head_dim, h.eps), g.unit_norm(k, h.head_dim, h.eps)
    if position_scale is not None:
        g.position_scale(q, *position_scale, ahead=1)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=chunk)
    return attention_output(g, h, w, out)


def experts(g: Layers, h: Hyperparameters, e: Experts, w: Weights, x: Value) -> Value:
    """The best expert of x times its weight, and the shared one of x."""
    scores = g.linear(x, *w.linear("ffn_gate_inp", e.count, h.width))
    r = route_with_bias(g, scores, e.used, None, sigmoid=True, normalize_weights=False, factor=e.factor)
    gate, up = expert_linears(g, weighted(g, x, r), r, *gate_up_experts(h, e, w))
    down = w.stack("ffn_down", e.count, h.width, e.ffn)
    routed = in_order(g, sorted_expert_linear(g, g.swiglu(gate, up), r, down), r)
    return g.add(routed, shared_expert(g, h, e, w, x, g.swiglu))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for an order of blocks that GGUF cannot say."""
    blocks, step = s.integer("num_hidden_layers"), s.integer("interleave_moe_layer_step")
    order = {
        "no_rope_layers": [int((i + 1) % PERIOD > 0) for i in range(min(blocks, 1 << 12))],
        "layer_types": [
            ("chunked" if (i + 1) % PERIOD else "full") + "_attention" for i in range(min(blocks, 1 << 12))
        ],
        "moe_layers": list(range(step - 1, min(blocks, 1 << 12), step)) if step else [],
    }
    for name, usual in order.items():
        if (s.items(name) or usual) != usual:
            raise s.fail(f"{name} is not the usual one, and GGUF has no key for it", "")
    if s.integer("num_experts_per_tok") != 1:
        raise s.fail("num_experts_per_tok must be 1", "")
    if s.flag("use_qk_norm") != (s.integer("num_local_experts") != UNNORMED):
        raise s.fail(f"use_qk_norm must be false for {UNNORMED} experts and true for others", "")
    tuned = s.flag("attn_temperature_tuning")
    own = {
        "attention.sliding_window": (s.integer("attention_chunk_size"), WINDOW),
        "attention.temperature_scale": (s.number("attn_scale") if tuned else 0.0, SCALE),
        "attention.temperature_length": (s.integer("floor_scale"), EVERY),
    }
    odd = {key: value for key, (value, usual) in own.items() if value != usual}
    if odd:
        s.note("chunks or scales of attention are not the usual ones, and llama.cpp does not read them")
    return (
        decoder_keys(s)
        | odd
        | {
            "feed_forward_length": s.integer("intermediate_size_mlp"),
            "expert_feed_forward_length": s.integer("intermediate_size"),
            "interleave_moe_layer_step": step,
            "vocab_size": s.integer("vocab_size"),
            "rope.dimension_count": s.head_dim,
        }
    )


def apart(s: Settings, x: Stream) -> dict[str, Stream]:
    """Gate and up projections of the experts, which folders have side by side."""
    both = transposed(x)
    if both.shape[-2] % 2:
        raise s.fail(f"gate_up_proj has {both.shape[-2]} columns, must be even")
    gate, up = split(both, [both.shape[-2] // 2] * 2)
    return {"gate_proj.weight": gate, "up_proj.weight": up}


CONVERSION = Conversion(
    classes=("Llama4ForCausalLM", "Llama4ForConditionalGeneration"),
    defaults=UNTIED
    | {
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "interleave_moe_layer_step": 1,
        "attention_chunk_size": WINDOW,
        "floor_scale": EVERY,
        "attn_scale": SCALE,
        "attn_temperature_tuning": True,
        "use_qk_norm": True,
    },
    keys=keys,
    steps={
        r"experts\.down_proj$": swaps,
        r"(?<=experts\.)down_proj$": renames("down_proj.weight"),
        r"(?<=experts\.)gate_up_proj$": apart,
    },
    extra=llama3_factors,
)
