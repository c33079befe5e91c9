"""nanochat (Karpathy 2025): norms without weights, one before the first block, queries and keys normalized after rotary
embedding, an MLP of two matrices with squared ReLU, and a soft cap of logits.

It rotates the other way. Queries and keys are converted with the halves of each head exchanged, which is the same.
"""

from __future__ import annotations

import numpy as np

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, TensorRule, decoder_keys
from ..hf.streams import Stream, take
from ..layers import Layers
from ..layers.decoder import attention_output, logits, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    x = g.unit_norm(g.embed(embedding), h.width, h.eps)
    for i in range(h.blocks):
        h, b = h.block(i), w.block(i)
        x = g.add(x, attention(g, h, b, g.unit_norm(x, h.width, h.eps), rope))
        inner = g.linear(g.unit_norm(x, h.width, h.eps), *b.linear("ffn_up", h.ffn, h.width))
        x = g.add(x, g.linear(g.relu_squared(inner), *b.linear("ffn_down", h.width, h.ffn)))
    out = logits(g, h, w, g.unit_norm(g.outputs(x), h.width, h.eps), embedding)
    return g.softcap(out, c.number("final_logit_softcapping", 0, 1e6))


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention whose rotated queries and keys are normalized."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    q, k = (g.unit_norm(x, h.head_dim, h.eps) for x in (q, k))
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5)
    return attention_output(g, h, w, out)


def keys(s: Settings) -> Keys:
    """Metadata from config.json, with the soft cap of logits."""
    s.note("llama.cpp does not know this architecture")
    return decoder_keys(s) | {"final_logit_softcapping": s.number("final_logit_softcapping", default=0.0)}


def halves_exchanged(heads: str) -> TensorRule:
    """The second half of each head's rows before the first; `heads` is the setting with their number."""

    def step(s: Settings, x: Stream) -> Stream:
        count, size = s.integer(heads, default=s.integer("num_attention_heads")), x.shape[0]
        if not count or size % (2 * count):
            raise s.fail(f"a tensor of {size} rows cannot be divided into {count} heads of pairs")
        return take(x, np.arange(size).reshape(count, 2, -1)[:, ::-1].reshape(-1))

    return step


CONVERSION = Conversion(
    classes=("NanoChatForCausalLM",),
    defaults=UNTIED
    | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "relu2", "final_logit_softcapping": 15.0},
    keys=keys,
    steps={
        r"q_proj\.(weight|bias)$": halves_exchanged("num_attention_heads"),
        r"k_proj\.(weight|bias)$": halves_exchanged("num_key_value_heads"),
    },
    named_as="phi2",
    activations=("relu2",),
)
