"""XVERSE 7B, 13B and 65B (XVERSE Technology 2023): Llama."""

from __future__ import annotations

from ..hf.conversion import UNTIED, Conversion
from .baichuan import keys
from .llama import PERMUTED_QK, build

__all__ = ["CONVERSION", "build"]
PERIOD = 0  # no block has full attention where files say a window

CONVERSION = Conversion(
    classes=("XverseForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps=PERMUTED_QK,
)
