"""Qwen3-30B-A3B and -235B-A22B (Yang et al. 2025, arXiv 2505.09388): Qwen3 with a mixture of experts in every block."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..layers import Layers
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .olmoe import mixture_decoder
from .qwen3 import attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    return mixture_decoder(g, c, w, vocab, attention, normalize_weights=True)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for expert weights that are not normalized."""
    if not s.flag("norm_topk_prob"):
        raise s.fail("norm_topk_prob is not true, and GGUF has no key for it")
    return decoder_keys(s) | {"expert_feed_forward_length": s.integer("moe_intermediate_size")}


CONVERSION = Conversion(
    classes=("Qwen3MoeForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "head_dim": 128},
    keys=keys,
)
