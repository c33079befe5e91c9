"""Jais 590M to 30B (Inception 2023, arXiv 2308.16149): GPT-2 with linear biases (ALiBi), an MLP with SwiGLU, and scores
divided by the size of heads, as muP has it."""

from __future__ import annotations

import math

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, swaps
from ..hf.streams import Stream, times
from ..layers import Layers
from ..layers.decoder import attention_output, gated_mlp, pre_norm_decoder, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.score_bias import ScoreBias
from ..layers.weights import Weights
from ..runtime.graph import Value
from .bloom import STEEPEST
from .gpt2 import norm


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    bias = g.linear_bias(h.heads, c.number("attention.max_alibi_bias", 0, 64, STEEPEST))
    return pre_norm_decoder(
        g,
        h,
        w,
        vocab,
        lambda h, b, x: attention(g, h, b, x, bias),
        lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu),
        every_norm=norm,
    )


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, bias: ScoreBias) -> Value:
    """Attention with linear biases, of scores divided by the size of heads in place of its root."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=1 / h.head_dim, bias=bias))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for attention that this architecture does not have."""
    if s.text("position_embedding_type", default="alibi") != "alibi":
        raise s.fail("position_embedding_type must be alibi", "")
    if not s.flag("mup_scale_qk_dot_by_d", "scale_qk_dot_by_d"):
        raise s.fail("mup_scale_qk_dot_by_d must be true", "")
    if s.find("alibi_scaling") is not None:
        raise s.fail("alibi_scaling must be null: GGUF has no key for it", "")
    return decoder_keys(s) | {"attention.max_alibi_bias": STEEPEST}


def scaled_embedding(s: Settings, x: Stream) -> Stream:
    """The embedding times what is a setting of the folder."""
    return times(x, s.number("mup_embeddings_scale", "embeddings_scale"))


def scaled_output(s: Settings, x: Stream) -> Stream:
    """The output matrix times what is a setting, or two, of the folder."""
    if s.find("mup_output_alpha") is None:
        return times(x, s.number("width_scale"))
    return times(x, s.number("mup_output_alpha") * s.number("mup_width_scale"))


def same_slopes(s: Settings, x: Stream) -> dict[str, Stream]:
    """Slopes of the linear biases are not stored: they follow from the steepest. Raises BadFileError for others."""
    heads = s.integer("n_head")
    first = 2.0 ** (-STEEPEST / (1 << max(heads, 1).bit_length() - 1))
    if not math.isclose(float(x.read(0, x.rows).reshape(-1)[0]), first, rel_tol=1e-3):
        raise s.fail("the slopes of the linear biases (relative_pe.slopes) are not the usual ones", "")
    return {}


CONVERSION = Conversion(
    classes=("JAISLMHeadModel",),
    defaults=UNTIED | {"layer_norm_epsilon": 1e-5},
    keys=keys,
    steps={
        r"\.c_(attn|proj|fc|fc2)\.weight$": swaps,
        r"relative_pe\.slopes$": same_slopes,
        r"^transformer\.wte\.weight$": scaled_embedding,
        r"^lm_head\.weight$": scaled_output,
    },
    activations=("swiglu",),
)
