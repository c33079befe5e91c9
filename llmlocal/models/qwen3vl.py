"""Qwen3-VL (Bai et al. 2025, arXiv 2511.21631) without images: Qwen3. Positions of text are the same in all sections of
its rotary embedding."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..layers import Layers
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import qwen3
from .qwen2vl import check_sections, section_keys

SECTIONS = [24, 20, 20]


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    check_sections(c)
    return qwen3.build(g, c, w, vocab)


def vision_keys(s: Settings) -> Keys:
    """Sections of the rotary embedding, and in how many blocks images are added."""
    vision = s.find("vision_config")
    found = vision.get("deepstack_visual_indexes") if isinstance(vision, dict) else None
    return section_keys(s, SECTIONS) | {"n_deepstack_layers": len(found) if isinstance(found, list) else 0}


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return vision_keys(s) | decoder_keys(s)


CONVERSION = Conversion(
    classes=("Qwen3VLForConditionalGeneration",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 5e6, "head_dim": 128},
    keys=keys,
)
