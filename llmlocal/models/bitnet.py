"""BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764; 2B4T, arXiv 2504.12285): Llama with weights of three values, norms of
what the output projections of attention and MLP read, and a gate of SiLU or squared ReLU."""

from __future__ import annotations

import numpy as np

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, renames
from ..hf.streams import Stream, Values
from ..layers import Layers
from ..layers.decoder import pre_norm_decoder
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value

RELU_SQUARED = "relu2"
ACTIVATIONS = ("silu", "swish", RELU_SQUARED)
READ_AT_ONCE = 1 << 22  # values


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    kind = c.text("hidden_activation", "silu")
    if kind not in ACTIVATIONS:
        raise c.fail(f"{c.arch}.hidden_activation is {kind!r:.40}; supported are {', '.join(ACTIVATIONS)}")
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def mlp(h: Hyperparameters, b: Weights, x: Value) -> Value:
        gate, up = scaled_linears(g, b, x, ("ffn_gate", h.ffn), ("ffn_up", h.ffn))
        x = g.multiply(g.relu_squared(gate), up) if kind == RELU_SQUARED else g.swiglu(gate, up)
        x = g.norm(x, b.vector("ffn_sub_norm.weight", h.ffn), h.eps)
        return scaled_linears(g, b, x, ("ffn_down", h.width))[0]

    return pre_norm_decoder(g, h, w, vocab, lambda h, b, x: attention(g, h, b, x, rope), mlp)


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention, with a norm of all heads together before the output projection."""
    q, k, v = scaled_linears(g, w, x, ("attn_q", h.q_dim), ("attn_k", h.kv_dim), ("attn_v", h.kv_dim))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    x = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5)
    x = g.norm(x, w.vector("attn_sub_norm.weight", h.q_dim), h.eps)
    return scaled_linears(g, w, x, ("attn_output", h.width))[0]


def scaled_linears(g: Layers, w: Weights, x: Value, *linears: tuple[str, int]) -> list[Value]:
    """Linear layers (name, rows) of x, times `name`.scale (1,) where a file keeps it apart from weights -1, 0, 1."""
    outs = g.linears(x, *(w.linear(name, rows, x.width) for name, rows in linears))
    scales = [w.maybe_vector(f"{name}.scale", 1) for name, _ in linears]
    return [
        g.scale(out, 1.0 if scale is None else float(scale.dequantize()[0]))
        for out, scale in zip(outs, scales, strict=True)
    ]


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return decoder_keys(s) | {"vocab_size": s.integer("vocab_size"), "hidden_activation": s.text("hidden_act")}


def to_three_values(s: Settings, x: Stream) -> Stream:
    """The matrix rounded to -m, 0 and m, the mean m of its absolute values; as it is where transformers reads it so."""
    config = s.find("quantization_config")
    online = isinstance(config, dict) and config.get("quantization_mode") == "online"
    if not online and s.items("architectures")[0] != OLD:
        return x
    step = max(1, READ_AT_ONCE // x.k)
    total = sum(float(np.abs(x.read(i, min(i + step, x.rows))).sum(dtype="f8")) for i in range(0, x.rows, step))
    mean = np.float32(max(total / (x.rows * x.k), 1e-5))

    def read(first: int, end: int) -> Values:
        values: Values = np.clip(np.rint(x.read(first, end).astype("f4") / mean), -1, 1) * mean
        return values

    return Stream(x.shape, "F32", read)


OLD = "BitnetForCausalLM"  # whose own code always rounds
CONVERSION = Conversion(
    classes=("BitNetForCausalLM", OLD),
    defaults={"rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": RELU_SQUARED},
    keys=keys,
    steps={
        r"_proj\.weight$": to_three_values,
        r"\.attn_sub_norm\.": renames(".inner_attn_ln."),
        r"\.ffn_sub_norm\.": renames(".ffn_layernorm."),
    },
    activations=ACTIVATIONS,
)
