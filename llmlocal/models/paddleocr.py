"""PaddleOCR-VL (Cui et al. 2025, arXiv 2510.14528) without images: ERNIE 4.5 with the rotary embedding of Qwen2-VL."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..layers import Layers
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import qwen2vl
from .qwen2vl import section_keys

SECTIONS = [16, 24, 24]


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    return qwen2vl.build(g, c, w, vocab)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return section_keys(s, SECTIONS) | decoder_keys(s)


CONVERSION = Conversion(
    classes=("PaddleOCRVLForConditionalGeneration",),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 500000.0, "head_dim": 128},
    keys=keys,
)
