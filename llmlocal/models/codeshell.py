"""CodeShell 7B (Peking University 2023, arXiv 2403.15747): StarCoder with rotary embedding and several heads of keys
and values."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, drops
from ..hf.settings_check import TANH_GELU
from .gpt2 import keys as gpt2_keys
from .starcoder2 import build

__all__ = ["CONVERSION", "build"]
PERIOD = 0  # no block has full attention where files say a window


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for other positions."""
    if s.text("position_embedding_type", default="rope") != "rope":
        raise s.fail("position_embedding_type must be rope", "")
    s.find("group_query_attention", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "multi_query")
    return gpt2_keys(s) | {
        "attention.head_count_kv": s.integer("num_query_groups"),
        "rope.freq_base": 10000.0,
    }


CONVERSION = Conversion(
    classes=("CodeShellForCausalLM",),
    defaults=UNTIED | {"layer_norm_epsilon": 1e-5, "rope_theta": 10000.0},
    keys=keys,
    steps={r"\.rotary_emb\.": drops()},
    activations=TANH_GELU,
)
