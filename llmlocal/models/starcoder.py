"""StarCoder and SantaCoder (Li et al. 2023, arXiv 2305.06161): GPT-2 with one head of keys and values."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion
from ..hf.settings_check import TANH_GELU
from .gpt2 import build
from .gpt2 import keys as gpt2_keys

__all__ = ["CONVERSION", "build"]


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError where each query head has keys of its own, as in GPT-2."""
    if not s.flag("multi_query"):
        raise s.fail("multi_query must be true", "")
    s.find("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "inference_runner", "pad_key_length")
    s.find("pre_allocate_kv_cache", "max_batch_size", "max_sequence_length", "validate_runner_input")
    return gpt2_keys(s) | {"attention.head_count_kv": 1}


CONVERSION = Conversion(
    classes=("GPTBigCodeForCausalLM",),
    defaults={"layer_norm_epsilon": 1e-5, "multi_query": True},
    keys=keys,
    activations=TANH_GELU,
)
