"""GLM-4.5, 4.6 and 4.7 (GLM Team 2025, arXiv 2508.06471): a mixture of experts with a shared expert after the first
blocks, chosen by sigmoid scores with a bias; rotary embedding of half of each head, and in some norms of queries and
keys."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, rotary_keys
from ..layers import Layers
from ..layers.decoder import Head, Sublayer, head, last_logits, norm, predicting_blocks, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .dots1 import DEFAULTS, STEPS, blocks_with_experts, sparse_keys
from .qwen3 import attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    feed_forward = blocks_with_experts(g, c, h)
    x = g.embed(embedding)
    for i in range(h.blocks - predicting_blocks(c, h.blocks)):
        x = block(g, h.block(i), w.block(i), x, rope, feed_forward)
    return last_logits(g, h, w, x, embedding)


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the block that predicts a further token. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    feed_forward = blocks_with_experts(g, c, h)
    return head(g, h, c, w, vocab, lambda _, h, b, x: block(g, h, b, x, rope, feed_forward))


def block(g: Layers, h: Hyperparameters, b: Weights, x: Value, rope: Rope, feed_forward: Sublayer) -> Value:
    """A block of x (tokens, width) -> (tokens, width)."""
    attend = attention if b.has("attn_q_norm.weight") else rope_attention
    x = g.add(x, attend(g, h, b, norm(g, h, b, "attn_norm", x), rope))
    return g.add(x, feed_forward(h, b, norm(g, h, b, "post_attention_norm", x)))


def keys(s: Settings) -> Keys:
    """Metadata from config.json; Solar Open rotates whole heads, and all of its blocks have experts."""
    solar = s.items("architectures")[0] == "SolarOpenForCausalLM"
    s.rope.setdefault("partial_rotary_factor", 1.0 if solar else 0.5)
    return sparse_keys(s) | rotary_keys(s)


CONVERSION = Conversion(
    classes=("Glm4MoeForCausalLM", "Glm4vMoeForConditionalGeneration", "SolarOpenForCausalLM"),
    defaults=UNTIED | DEFAULTS | {"rms_norm_eps": 1e-5, "first_k_dense_replace": 1},
    keys=keys,
    steps=STEPS,
)
