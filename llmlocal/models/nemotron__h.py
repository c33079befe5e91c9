"""Nemotron-H and Nemotron Nano 2 (NVIDIA 2025, arXiv 2504.03624): each block is one layer, Mamba-2, attention without
rotary embedding, or an MLP of two matrices with squared ReLU."""

from __future__ import annotations

from typing import Any

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, renames
from ..layers import Layers
from ..layers.decoder import Head, Sublayer, head, last_logits, norm, predicting_blocks, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.mamba import Mamba2, mamba2
from ..layers.weights import Weights
from ..runtime.graph import Value
from .mamba2 import CONTEXT, STEPS, check_time_steps, state_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    return decoder(g, Hyperparameters.read(c, w, hybrid=True), c, w, vocab, lambda h, b, x: mlp(g, h, b, x))


def decoder(g: Layers, h: Hyperparameters, c: Config, w: Weights, vocab: int, feed_forward: Sublayer) -> Value:
    """The forward pass with a given feed-forward; blocks without one and without key heads are recurrent."""
    m, scale = Mamba2.read(c), score_scale(c, h)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    x = g.embed(embedding)
    for i in range(h.blocks - predicting_blocks(c, h.blocks)):
        h, b = h.block(i), w.block(i)
        normed = norm(g, h, b, "attn_norm", x)
        if h.ffn:
            out = feed_forward(h, b, normed)
        elif h.kv_heads:
            out = rope_attention(g, h, b, normed, None, scale=scale)
        else:
            out = mamba2(g, h, m, b, normed)
        x = g.add(x, out)
    return last_logits(g, h, w, x, embedding)


def predictor(g: Layers, h: Hyperparameters, c: Config, w: Weights, vocab: int, feed_forward: Sublayer) -> Head:
    """The block that predicts a further token: attention, and a feed-forward behind it."""
    scale = score_scale(c, h)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = g.add(x, rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), None, scale=scale))
        return g.add(x, feed_forward(h, b, norm(g, h, b, "post_attention_norm", x)))

    return head(g, h, c, w, vocab, block)


def score_scale(c: Config, h: Hyperparameters) -> float:
    """What multiplies the scores of attention."""
    return c.number("attention.scale", 0, 1e6, 0.0) or h.head_dim**-0.5


def mlp(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """down(max(up(x), 0)^2)."""
    x = g.relu_squared(g.linear(x, *w.linear("ffn_up", h.ffn, h.width)))
    return g.linear(x, *w.linear("ffn_down", h.width, h.ffn))


def layer_kinds(s: Settings) -> list[str]:
    """The kind of each layer: M (Mamba-2), * (attention), - (MLP), E (experts). Raises BadFileError for others."""
    kinds = list(s.text("hybrid_override_pattern")) or s.items("layers_block_type", "layer_types")
    letters = [LETTERS.get(kind, "") if isinstance(kind, str) else "" for kind in kinds]
    if not all(letters):
        raise s.fail(f"a layer is {kinds[letters.index('')]!r:.40}, which this architecture does not have")
    return letters


def shared_keys(s: Settings, kinds: list[str], ffn: int) -> Keys:
    """Metadata of all models of the family, for a feed-forward of width `ffn`."""
    s.find("expand", "chunk_size", "use_bias", "use_conv_bias", "mamba_proj_bias", "num_hidden_layers", *UNUSED)
    s.find("intermediate_size")
    check_time_steps(s)
    for name, value in (("mlp_hidden_act", "relu2"), ("mamba_hidden_act", "silu")):
        if s.text(name) != value:
            raise s.fail(f"{name} is {s.text(name)!r:.40}, this architecture computes {value}")
    size, eps = s.integer("head_dim", "attention_head_dim"), "layer_norm_epsilon"
    return decoder_keys(s) | {
        "block_count": len(kinds),
        "context_length": CONTEXT,
        "feed_forward_length": [ffn if kind in "-E" else 0 for kind in kinds],
        "attention.head_count_kv": [s.kv_heads if kind == "*" else 0 for kind in kinds],
        "attention.key_length": size,
        "attention.value_length": size,
        "attention.layer_norm_epsilon": s.number(eps),
        "attention.layer_norm_rms_epsilon": s.number(eps),
        "vocab_size": s.integer("vocab_size"),
        **state_keys(s, s.integer("mamba_num_heads"), s.integer("mamba_head_dim"), s.integer("ssm_state_size")),
    }


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    experts = dict.fromkeys(("expert_count", "expert_used_count"))
    return shared_keys(s, layer_kinds(s), s.integer("intermediate_size")) | experts


LETTERS = {"linear_attention": "M", "mamba": "M", "full_attention": "*", "attention": "*", "mlp": "-", "moe": "E"}
LETTERS |= {letter: letter for letter in "M*-E"}
# How weights were drawn, and how another engine stores and computes.
DRAWN = ("time_step_min", "time_step_max", "time_step_floor", "time_step_rank", "rescale_prenorm_residual")
UNUSED = (*DRAWN, "residual_in_fp32", "use_mamba_kernels", "mamba_ssm_cache_dtype", "num_logits_to_keep")
DEFAULTS: dict[str, Any] = {
    "mlp_hidden_act": "relu2",
    "mamba_hidden_act": "silu",
    "head_dim": 128,
    "ssm_state_size": 128,
}
DEFAULTS |= {"layer_norm_epsilon": 1e-5, "conv_kernel": 4, "n_groups": 8}
NAMES = {r"^model\.(layers\.\d+\.mixer\.)": renames(r"backbone.\1")}
CONVERSION = Conversion(
    classes=("NemotronHForCausalLM",),
    applies=lambda s: "E" not in layer_kinds(s),
    defaults=UNTIED | DEFAULTS,
    keys=keys,
    steps=NAMES | STEPS,
)
