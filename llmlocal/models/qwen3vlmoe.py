"""Qwen3-VL with a mixture of experts (Bai et al. 2025, arXiv 2511.21631) without images: Qwen3 with experts."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, cuts, decoder_keys, renames
from ..hf.streams import Stream, transposed
from ..layers import Layers
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import qwen3moe
from .qwen2vl import check_sections
from .qwen3vl import vision_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    check_sections(c)
    return qwen3moe.build(g, c, w, vocab)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for expert weights that are not normalized."""
    if not s.flag("norm_topk_prob", default=True):
        raise s.fail("norm_topk_prob is not true, and GGUF has no key for it")
    ffn = s.integer("moe_intermediate_size")
    return vision_keys(s) | decoder_keys(s) | {"expert_feed_forward_length": ffn}


def gate_and_up(s: Settings, x: Stream) -> Stream | dict[str, Stream]:
    """Matrices of gate and up of all experts, apart; published folders have them (experts, inputs, outputs)."""
    turned = x.shape[-2] == s.integer("hidden_size") and x.k == 2 * s.integer("moe_intermediate_size")
    return cuts("gate_proj.weight", "up_proj.weight")(s, transposed(x) if turned else x)


def down(s: Settings, x: Stream) -> dict[str, Stream]:
    """The matrices back to the width of the model, as `gate_and_up`."""
    turned = x.k == s.integer("hidden_size") and x.shape[-2] == s.integer("moe_intermediate_size")
    return {"down_proj.weight": transposed(x) if turned else x}


OMNI = ("Qwen3OmniMoeForConditionalGeneration", "Qwen3OmniMoeThinkerForConditionalGeneration")
CONVERSION = Conversion(
    classes=("Qwen3VLMoeForConditionalGeneration", *OMNI),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 5e6, "head_dim": 128},
    keys=keys,
    steps={
        r"^thinker\.": renames(""),
        r"(?<=experts\.)gate_up_proj$": gate_and_up,
        r"(?<=experts\.)down_proj$": down,
    },
)
