"""gpt-oss (OpenAI 2025, arXiv 2508.10925): mixture of experts with biases and clamped SwiGLU, attention sinks, a
sliding window in every other block, and YaRN whose ramp is not rounded to whole pairs (llama.cpp rounds it)."""

from __future__ import annotations

import numpy as np

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, renames, window_keys
from ..hf.streams import Stream, reshaped, take, transposed
from ..layers import Layers
from ..layers.decoder import attention_output, logits, mixture_of_experts, norm, qkv_weights
from ..layers.hyperparameters import Experts, Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value

PERIOD = 2  # the last of so many blocks has full attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx, whole_pairs=False), interleaved=False)
    x = g.embed(embedding)
    for i, window in enumerate(windows(c, h.blocks, period=PERIOD)):
        h, b = h.block(i), w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, window))
        n = norm(g, h, b, "post_attention_norm", x)  # GGUF's name; it is the norm before the experts
        x = g.add(x, mixture_of_experts(g, h, e, b, n, g.swiglu_clamped, normalize_weights=True))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, window: int | None) -> Value:
    """Grouped-query attention with biases and a learned sink score for each head."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    sinks = w.vector("attn_sinks.weight", h.heads)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window, sinks=sinks)
    return attention_output(g, h, w, out)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    expert_ffn = {"expert_feed_forward_length": s.integer("intermediate_size")}
    return decoder_keys(s) | expert_ffn | window_keys(s, period=PERIOD)


def deinterleaved(s: Settings, x: Stream) -> dict[str, Stream]:
    """Split interleaved gate and up rows: matrices (experts, width, 2 * ffn), or biases (experts, 2 * ffn)."""
    names = (r"blk.\1.ffn_gate_exps", r"blk.\1.ffn_up_exps")
    if len(x.shape) == 2:
        return {f"{name}.bias": every_second(x, i) for i, name in enumerate(names)}
    rows_first = transposed(x)
    experts, rows, k = rows_first.shape
    halves = (take(reshaped(rows_first, experts * rows, k), np.arange(i, experts * rows, 2)) for i in range(2))
    return {f"{name}.weight": reshaped(y, experts, rows // 2, k) for name, y in zip(names, halves, strict=True)}


def every_second(x: Stream, first: int) -> Stream:
    """The columns `first`, `first + 2`, ... of a matrix."""
    return Stream((x.rows, x.k // 2), x.format, lambda low, high: x.read(low, high)[:, first::2])


def down(s: Settings, x: Stream) -> dict[str, Stream]:
    """Matrices (experts, ffn, width), or biases (experts, width)."""
    return {r"blk.\1.ffn_down_exps.bias": x} if len(x.shape) == 2 else {r"blk.\1.ffn_down_exps.weight": transposed(x)}


EXPERTS = r"^model\.layers\.(\d+)\.mlp\.experts\."
CONVERSION = Conversion(
    classes=("GptOssForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 150000.0, "head_dim": 64, "sliding_window": 128},
    keys=keys,
    whole_pairs=False,
    steps={
        EXPERTS + "gate_up_proj(_bias)?$": deinterleaved,
        EXPERTS + "down_proj(_bias)?$": down,
        r"\.sinks$": renames(".sinks.weight"),
    },
)
