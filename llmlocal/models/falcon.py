"""Falcon 7B, 11B and 40B (Almazrouei et al. 2023, arXiv 2311.16867): attention and MLP run in parallel, on the same
layer norm or on one each, without biases. The MLP has GELU itself, which llama.cpp approximates."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, drops_if_tied, groups_apart
from ..layers import Layers
from ..layers.decoder import decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import mlp, norm

LAYOUT = "jploski"  # all queries, all keys, all values


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    if c.text("tensor_data_layout", LAYOUT) != LAYOUT:
        raise c.fail(f"{c.arch}.tensor_data_layout is not {LAYOUT}")
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed = norm(g, h, b, "attn_norm", x)
        own = norm(g, h, b, "attn_norm_2", x) if b.has("attn_norm_2.weight") else normed
        return g.add(g.add(x, rope_attention(g, h, b, own, rope)), mlp(g, h, b, normed, g.gelu_erf))

    return decoder(g, h, w, vocab, block, norm)


def kv_heads(s: Settings) -> int:
    """Key heads: one, or those that the config names."""
    if s.flag("multi_query") and not s.flag("new_decoder_architecture"):
        return 1
    return s.integer("num_kv_heads", "n_head_kv", default=s.integer("num_attention_heads", "n_head"))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for ALiBi and blocks that are not parallel (Falcon RW)."""
    if s.flag("alibi") or not s.flag("parallel_attn"):
        raise s.fail("alibi, and parallel_attn false, are not supported", "")
    if s.text("activation", default="gelu") != "gelu":
        raise s.fail("activation must be gelu", "")
    width = s.integer("hidden_size")
    s.find("num_ln_in_parallel_attn", "bias")  # the tensors say it
    return decoder_keys(s) | {
        "attention.head_count_kv": kv_heads(s),
        "feed_forward_length": s.integer("ffn_hidden_size", default=4 * width),
        "tensor_data_layout": LAYOUT,
    }


CONVERSION = Conversion(
    classes=("FalconForCausalLM", "RWForCausalLM"),
    defaults={
        "layer_norm_epsilon": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 2048,
        "multi_query": True,
        "parallel_attn": True,
    },
    keys=keys,
    steps={
        r"query_key_value\.": groups_apart(kv_heads),
        r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True),
    },
    activations=("gelu",),
)
