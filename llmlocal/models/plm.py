"""PLM 1.8B (PLM Team 2025, arXiv 2503.12167): multi-head latent attention, and an MLP of squared ReLU."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import pre_norm_decoder
from ..layers.hyperparameters import Hyperparameters
from ..layers.latent_attention import LatentSizes, latent_attention
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import mlp
from .minicpm3 import head_sizes, latent_head_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, head_sizes=head_sizes)
    s = LatentSizes.read(c, h, c.integer("attention.value_length", 1, 1 << 12, h.head_dim), h.head_dim**-0.5)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    return pre_norm_decoder(
        g,
        h,
        w,
        vocab,
        lambda h, b, x: latent_attention(g, h, s, b, x, rope),
        lambda h, b, x: mlp(g, h, b, x, g.relu_squared),
    )


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for queries that have a latent."""
    if s.find("q_lora_rank"):
        raise s.fail("q_lora_rank must be null", "")
    return decoder_keys(s) | latent_head_keys(s, s.integer("v_head_dim"))


CONVERSION = Conversion(
    classes=("PLMForCausalLM",),
    defaults={
        "rms_norm_eps": 1e-6,
        "rope_theta": 100000.0,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
    },
    keys=keys,
    activations=("relu2",),
)
