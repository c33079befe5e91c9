"""Llama-Embed-Nemotron and others (NVIDIA 2025, arXiv 2511.07025): Llama whose tokens see the whole text."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, llama3_factors, renames
from ..layers import Layers
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER, llama

KIND = ENCODER


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; what an output matrix would read are the states. Raises BadFileError."""
    return llama.build(g, c, w, vocab)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return llama.llama_keys(s) | {"attention.causal": False}


CONVERSION = Conversion(
    classes=("LlamaBidirectionalModel",),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps=llama.PERMUTED_QK | {r"^model\.": renames("")},
    extra=llama3_factors,
)
