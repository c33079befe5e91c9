"""BLOOM (BigScience 2022, arXiv 2211.05100): GPT-2 with linear biases (ALiBi) in place of position embeddings, and a
layer norm of the embedding."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, drops_if_tied, groups_apart, renames
from ..layers import Layers
from ..layers.decoder import logits
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import attention, mlp, norm

STEEPEST = 8.0  # slope of linear biases, which no key says


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    x = norm(g, h, w, "token_embd_norm", g.embed(embedding))
    bias = g.linear_bias(h.heads, STEEPEST)
    for i in range(h.blocks):
        h, b = h.block(i), w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), bias))
        x = g.add(x, mlp(g, h, b, norm(g, h, b, "ffn_norm", x)))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def heads(s: Settings) -> int:
    """Number of attention heads; each has keys of its own."""
    return s.integer("n_head", "num_attention_heads")


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for another order of norms and residuals."""
    if s.flag("apply_residual_connection_post_layernorm"):
        raise s.fail("apply_residual_connection_post_layernorm must be false", "")
    s.find(
        "slow_but_exact", "attention_softmax_in_fp32", "masked_softmax_fusion", "bias_dropout_fusion", "offset_alibi"
    )
    width = s.integer("hidden_size", "n_embed")
    return decoder_keys(s) | {
        "context_length": s.integer("seq_length", default=width),
        "embedding_length": width,
        "feed_forward_length": 4 * width,
        "attention.head_count_kv": heads(s),
    }


CONVERSION = Conversion(
    classes=("BloomForCausalLM", "BloomModel"),
    defaults={"layer_norm_epsilon": 1e-5},
    keys=keys,
    steps={
        r"^transformer\.": renames(""),
        r"query_key_value\.": groups_apart(heads),
        r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True),
    },
)
