"""MiniCPM3 (OpenBMB 2024, arXiv 2404.06395): multi-head latent attention; embedding, residuals and output scaled."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, longrope_factors, longrope_keys
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder
from ..layers.hyperparameters import Hyperparameters, rotary_size
from ..layers.latent_attention import LatentSizes, latent_attention
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value

# What the model was published with, and no key of GGUF says.
EMBEDDING_SCALE, DEPTH_SCALE, BASE_WIDTH = 12, 1.4, 256
SCALES = {"scale_emb": EMBEDDING_SCALE, "scale_depth": DEPTH_SCALE, "dim_model_base": BASE_WIDTH}  # in config.json


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, head_sizes=head_sizes)
    value = c.integer("attention.value_length", 1, 1 << 12, max(1, h.width // h.heads))
    s = LatentSizes.read(c, h, value, h.head_dim**-0.5)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    out = pre_norm_decoder(
        g,
        h,
        w,
        vocab,
        lambda h, b, x: latent_attention(g, h, s, b, x, rope),
        lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu),
        embedding_scale=EMBEDDING_SCALE,
        residual_scale=DEPTH_SCALE * h.blocks**-0.5,
    )
    return g.scale(out, BASE_WIDTH / h.width)


def head_sizes(c: Config, _: str, default: int) -> tuple[int, int]:
    """Size of a key once it is unpacked, and how much of it has rotary embedding."""
    head_dim = c.integer("attention.key_length", 1, 1 << 12, default)
    return head_dim, rotary_size(c, head_dim)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for scales that GGUF cannot say."""
    for name, value in SCALES.items():
        if s.number(name) != value:
            raise s.fail(f"{name} must be {value}: GGUF has no key for it", "")
    long = longrope_keys(s) if "long_factor" in s.rope else {}
    usual = s.integer("hidden_size") // max(1, s.integer("num_attention_heads"))
    value = s.integer("v_head_dim", default=usual)
    rank = s.integer("q_lora_rank") if s.find("q_lora_rank") else None
    return (
        decoder_keys(s)
        | long
        | {"attention.q_lora_rank": rank}
        | latent_head_keys(s, value if value != usual else None)
    )


def latent_head_keys(s: Settings, value_length: int | None) -> Keys:
    """Metadata of latent attention whose cache holds keys and values of heads, without the rank of queries."""
    rotary = s.integer("qk_rope_head_dim")
    return {
        "attention.kv_lora_rank": s.integer("kv_lora_rank"),
        "attention.key_length": s.integer("qk_nope_head_dim") + rotary,
        "attention.value_length": value_length,
        "rope.dimension_count": rotary,
        "vocab_size": s.integer("vocab_size"),
    }


CONVERSION = Conversion(
    classes=("MiniCPM3ForCausalLM",),
    defaults=SCALES
    | {"rms_norm_eps": 1e-5, "q_lora_rank": 768, "kv_lora_rank": 256, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32},
    keys=keys,
    extra=longrope_factors,
)
