"""Qwen1.5-MoE and Qwen2-57B-A14B (Yang et al. 2024, arXiv 2407.10671): chosen experts beside one that all tokens use.

The weights of the chosen are not brought to a sum of 1; the common one has a weight of its own, a sigmoid.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys
from ..layers import Layers, Rope
from ..layers.decoder import attention_output, logits, mixture, norm, queries_keys_values, shared
from ..layers.hyperparameters import Experts, Hyper
from ..layers.metadata import Config
from ..layers.moe import sigmoid_scaled
from ..layers.rope_scaling import rotation
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    e = Experts.read(c, h)
    if not e.shared_ffn:
        raise c.fail(f"{c.arch}.expert_shared_feed_forward_length is missing")
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx), interleaved=False)
    x = g.embed(embedding)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        x = g.add(x, feed_forward(g, h, e, b, norm(g, h, b, "ffn_norm", x)))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention with biases."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    g.turn(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def feed_forward(g: Layers, h: Hyper, e: Experts, w: Weights, x: Value) -> Value:
    """The chosen experts, and the common one times its sigmoid."""
    chosen = mixture(g, h, e, w, x, g.swiglu, renormed=False)
    score = g.linear(x, w.vector("ffn_gate_inp_shexp.weight", h.width).as_row())
    return g.add(chosen, sigmoid_scaled(g.graph, shared(g, h, e, w, x, g.swiglu), score))


def keys(s: Settings) -> Keys:
    """Keys of a Hugging Face folder. Raises BadFileError where weights are brought to a sum of 1."""
    if s.flag("norm_topk_prob"):
        raise s.fail("norm_topk_prob is true, and GGUF has no key to say so")
    return decoder_keys(s) | {
        "expert_feed_forward_length": s.integer("moe_intermediate_size"),
        "expert_shared_feed_forward_length": s.integer("shared_expert_intermediate_size"),
    }


CONVERSION = Conversion(
    classes=("Qwen2MoeForCausalLM",),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
)
