"""EXAONE 3 and 3.5 (LG AI Research 2024, arXiv 2408.03541): Llama with RoPE over the two halves of a head (NeoX order);
folders have names of their own for tensors."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, llama3_factors
from .qwen2 import build

__all__ = ["CONVERSION", "build"]


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return decoder_keys(s) | {
        "attention.layer_norm_rms_epsilon": s.number("layer_norm_epsilon"),
        "attention.layer_norm_epsilon": None,
        "rope.dimension_count": s.head_dim,
    }


CONVERSION = Conversion(
    classes=("ExaoneForCausalLM",),
    defaults=UNTIED | {"layer_norm_epsilon": 1e-5, "rope_theta": 10000.0},
    keys=keys,
    extra=llama3_factors,
)
