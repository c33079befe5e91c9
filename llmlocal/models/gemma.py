"""Gemma (Gemma Team 2024, arXiv 2403.08295): embeddings scaled by sqrt(width), GeGLU."""

from __future__ import annotations

from ..hf.conversion import Conversion, adds, drops_if_tied
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.decoder import attention_output, gated_mlp, logits, norm, qkv_weights
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
    x = g.scale(g.embed(embedding), h.width**0.5)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        x = g.add(x, gated_mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.geglu))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention; heads * head_dim may differ from the width of the model."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


CONVERSION = Conversion(
    classes=("GemmaForCausalLM",),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "head_dim": 256},
    steps={r"norm\.weight$": adds(1), r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=False)},
    activations=TANH_GELU,
)
