"""openPangu Embedded 1B and 7B (Huawei 2025, arXiv 2505.22375): Llama with biases of attention's four projections, and
RoPE over the two halves of a head (NeoX order)."""

from __future__ import annotations

from ..hf.conversion import UNTIED, Conversion, drops_if_tied
from .llama import llama_keys
from .qwen2 import build

__all__ = ["CONVERSION", "build"]

CONVERSION = Conversion(
    classes=("PanguEmbeddedForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 10000.0},
    keys=llama_keys,
    steps={r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True)},
)
