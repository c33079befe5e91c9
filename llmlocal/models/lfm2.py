"""LFM2 and LFM2.5 (Liquid AI 2025, arXiv 2511.23404): most blocks have a gated short convolution in place of attention.

GGUF calls the norm before the output matrix `token_embd_norm`.
"""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, Conversion, decoder_keys, drops_if_tied, squeezes
from ..layers import Layers
from ..layers.decoder import Sublayer, gated_mlp, logits, norm
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.recurrent import gated_short_conv
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .qwen3 import attention

PERIOD = 0  # no block has full attention where files say a window


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True)
    return decoder(g, h, c, w, vocab, lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu))


def decoder(g: Layers, h: Hyperparameters, c: Config, w: Weights, vocab: int, feed_forward: Sublayer) -> Value:
    """The forward pass with a given feed-forward."""
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    size = c.integer("shortconv.l_cache", 2, 16)
    x = g.embed(embedding)
    for i, window in enumerate(windows(c, h.blocks, period=PERIOD)):
        h, b = h.block(i), w.block(i)
        n = norm(g, h, b, "attn_norm", x)
        mixed = attention(g, h, b, n, rope, window=window) if h.kv_heads else short_conv(g, h, b, n, size)
        x = g.add(x, mixed)
        x = g.add(x, feed_forward(h, b, norm(g, h, b, "ffn_norm", x)))
    return logits(g, h, w, norm(g, h, w, "token_embd_norm", g.outputs(x)), embedding)


def short_conv(g: Layers, h: Hyperparameters, w: Weights, x: Value, size: int) -> Value:
    """Projection to two gates and an input, the convolution of `size` inputs, projection back."""
    inputs = g.linear(x, *w.linear("shortconv.in_proj", 3 * h.width, h.width))
    out = gated_short_conv(g, inputs, w.vector("shortconv.conv.weight", h.width, size))
    return g.linear(out, *w.linear("shortconv.out_proj", h.width, h.width))


# Sizes that the tensors say too, and how the weights were drawn.
SIZES = ("block_dim", "conv_dim", "conv_dim_out", "num_heads", "block_use_swiglu", "use_pos_enc", "theta")
DRAWN = ("block_mlp_init_scale", "block_out_init_scale", "block_use_xavier_init", "conv_use_xavier_init")


def hybrid_keys(s: Settings) -> Keys:
    """The decoder's keys, blocks with a convolution having no key heads. Raises BadFileError for biases."""
    if s.flag("conv_bias"):
        raise s.fail("conv_bias is true, and GGUF has no tensor for it")
    s.find(*SIZES, *DRAWN, "block_norm_eps", "tie_embedding")
    kinds, attends = s.items("layer_types"), s.items("full_attn_idxs")
    if not kinds:
        layers = range(min(s.integer("num_hidden_layers"), MAX_LAYERS))
        kinds = ["full_attention" if i in attends or not attends else "conv" for i in layers]
    if odd := next((kind for kind in kinds if kind not in ("conv", "full_attention")), None):
        raise s.fail(f"layer_types has {odd!r:.40}; this architecture has conv and full_attention")
    heads = [0 if kind == "conv" else s.kv_heads for kind in kinds]
    return decoder_keys(s) | {
        "attention.head_count_kv": heads,
        "shortconv.l_cache": s.integer("conv_L_cache"),
        "vocab_size": s.integer("vocab_size"),
    }


def keys(s: Settings) -> Keys:
    """Metadata from config.json: the size of the MLP is two thirds of what it says, rounded up."""
    ffn = s.integer("block_ff_dim", "intermediate_size")
    multiple, factor = s.integer("block_multiple_of"), s.number("block_ffn_dim_multiplier")
    if s.flag("block_auto_adjust_ff_dim"):
        ffn = -(-int(factor * int(2 * ffn / 3)) // max(multiple, 1)) * multiple
    return hybrid_keys(s) | {"feed_forward_length": ffn}


STEPS = {r"\.conv\.conv\.weight$": squeezes, r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True)}
DEFAULTS = {"norm_eps": 1e-5, "rope_theta": 1e6, "conv_L_cache": 3, "tie_word_embeddings": True}
ADJUSTED = {"block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256}
CONVERSION = Conversion(
    classes=("Lfm2ForCausalLM", "LFM2ForCausalLM", "Lfm2Model"), defaults=DEFAULTS | ADJUSTED, keys=keys, steps=STEPS
)
