"""NeoBERT (Le Breton et al. 2025, arXiv 2502.19587): an encoder with rotary embedding in interleaved pairs, RMS norms
before sublayers, and SwiGLU. Folders have queries, keys and values head by head; GGUF has all queries first, and files
that llama.cpp converted in the folders' order are read as it reads them."""

from __future__ import annotations

from ..gguf.values import ValueType
from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, drops, groups_apart, head_keys, renames
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.decoder import norm, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER
from .bert import SORTS, only_in
from .phi3 import mlp

KIND = ENCODER
CLS, MULTIPLE = 2, 8  # GGUF's pooling type of the first state; the MLP's width is rounded up to a multiple


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    x = g.embed(w.matrix("token_embd.weight", vocab, h.width))
    for i in range(h.blocks):
        h, b = h.block(i), w.block(i)
        x = g.add(x, rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        x = g.add(x, mlp(g, h, b, norm(g, h, b, "ffn_norm", x)))
    return norm(g, h, w, "enc.output_norm", x)


def classifier(g: Layers, c: Config, w: Weights, x: Value) -> Value:
    """Scores (outputs, labels) of pooled states (outputs, width)."""
    return blocks.tanh_classifier(g, Hyperparameters.read(c, w), w, x)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for norms and positions of another kind."""
    if not (s.flag("rope") and s.flag("rms_norm")):
        raise s.fail("rope and rms_norm must be true", "")
    s.find("dim_head", "flash_attention", "ngpt", "base_scale", "decoder_init_range", "embedding_init_range")
    s.find("classifier_init_range", "num_labels")
    ffn = 2 * s.integer("intermediate_size") // 3
    return (
        decoder_keys(s)
        | {
            "context_length": s.integer("max_position_embeddings", "max_length"),
            "feed_forward_length": -(-ffn // MULTIPLE) * MULTIPLE,
            "attention.causal": False,
            "pooling_type": (ValueType.U32, CLS),
        }
        | head_keys(s)
    )


CONVERSION = Conversion(
    classes=("NeoBERT", "NeoBERTLMHead", "NeoBERTForSequenceClassification"),
    defaults={
        "norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "max_length": 4096,
        "rope": True,
        "rms_norm": True,
        "tie_word_embeddings": True,
    },
    keys=keys,
    steps={
        r"^model\.": renames(""),
        r"^decoder\.": drops("the head for masked words is left out: GGUF's neo-bert has none"),
        r"^dense\.": only_in(SORTS, "cls."),
        r"^classifier\.(weight|bias)$": only_in(SORTS, r"cls.output.\1"),
        r"\.qkv\.weight$": groups_apart(lambda s: s.integer("num_attention_heads")),
    },
    activations=("SwiGLU", "swiglu", "silu"),
)
