"""Qwen2-VL and Qwen2.5-VL (Wang et al. 2024, arXiv 2409.12191; Bai et al. 2025, arXiv 2502.13923) without images:
Qwen2. Positions of text are the same in all sections of its rotary embedding."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, renames
from ..layers import Layers
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import qwen2

SECTIONS = [16, 24, 24]


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    check_sections(c)
    return qwen2.build(g, c, w, vocab)


def check_sections(c: Config) -> None:
    """Check keys that matter for images alone. Raises BadFileError."""
    c.integers("rope.dimension_sections", 4, 0, 1 << 12, (0,) * 4)
    c.integer("n_deepstack_layers", 0, 1 << 12, 0)


def section_keys(s: Settings, default: list[int]) -> Keys:
    """The parts of a head that are rotated by time, height and width of an image: of no effect on text."""
    sections = s.rope.get("mrope_section") or default
    if not isinstance(sections, list) or not all(isinstance(n, int) for n in sections):
        raise s.fail("mrope_section must be a list of integers")
    if s.rope.get("rope_type") == "mrope":
        s.rope["rope_type"] = "default"
    return {"rope.dimension_sections": (sections + [0] * 4)[:4]}


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return section_keys(s, SECTIONS) | decoder_keys(s)


OMNI = tuple(f"Qwen2_5Omni{end}" for end in ("Model", "ForConditionalGeneration", "ThinkerForConditionalGeneration"))
CONVERSION = Conversion(
    classes=("Qwen2VLForConditionalGeneration", "Qwen2VLModel", "Qwen2_5_VLForConditionalGeneration", *OMNI),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 1e6},
    keys=keys,
    steps={r"^thinker\.": renames(""), r"^model\.language_model\.": renames("model.")},
)
