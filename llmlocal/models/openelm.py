"""OpenELM 270M to 3B (Mehta et al. 2024, arXiv 2404.14619): norms of queries and keys; numbers of heads and the
width of the MLP grow from block to block."""

from __future__ import annotations

from ..hf.config import Keys, Settings, as_integer, as_number
from ..hf.conversion import Conversion, cuts
from .qwen3 import build

__all__ = ["CONVERSION", "build"]
EPS = 1e-6  # of every norm; no setting says it


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that the published models do not have."""
    for name in ("normalize_qk_projections", "share_input_output_layers", "ffn_with_glu"):
        if not s.flag(name):
            raise s.fail(f"{name} must be true", "")
    for name, value in (("activation_fn_name", "swish"), ("normalization_layer_name", "rms_norm")):
        if s.text(name) != value:
            raise s.fail(f"{name} must be {value}", "")
    s.find(
        "num_gqa_groups", "qkv_multipliers", "rope_max_length"
    )  # what the numbers of heads and positions are made of
    lists = ("num_query_heads", "num_kv_heads", "ffn_multipliers")
    if len({s.integer("num_transformer_layers"), *(len(s.items(name)) for name in lists)}) != 1:
        raise s.fail(f"{', '.join(lists)} must have num_transformer_layers elements each")
    width, head_dim = s.integer("model_dim"), s.integer("head_dim")
    return {
        "block_count": s.integer("num_transformer_layers"),
        "context_length": s.integer("max_context_length"),
        "embedding_length": width,
        "feed_forward_length": [mlp_width(s, width, factor) for factor in s.items("ffn_multipliers")],
        "attention.head_count": [as_integer(s, "num_query_heads", heads) for heads in s.items("num_query_heads")],
        "attention.head_count_kv": [as_integer(s, "num_kv_heads", heads) for heads in s.items("num_kv_heads")],
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": EPS,
        "rope.dimension_count": head_dim,
        "rope.freq_base": s.number("rope_freq_constant"),
    }


def mlp_width(s: Settings, width: int, factor: object) -> int:
    """`width` times `factor`, rounded to a multiple of ffn_dim_divisor that is no tenth smaller."""
    wanted, divisor = as_number(s, "ffn_multipliers", factor) * width, s.integer("ffn_dim_divisor")
    if wanted <= 0 or not divisor:
        raise s.fail("ffn_multipliers and ffn_dim_divisor must be positive")
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * wanted else rounded + divisor


CONVERSION = Conversion(
    classes=("OpenELMForCausalLM",),
    defaults={
        "ffn_with_glu": True,
        "ffn_dim_divisor": 256,
        "activation_fn_name": "swish",
        "normalization_layer_name": "rms_norm",
        "rope_freq_constant": 10000,
        "max_context_length": 2048,
        "head_dim": 128,
    },
    keys=keys,
    steps={
        r"^transformer\.layers\.(\d+)\.ffn\.proj_1(?=\.weight$)": cuts(r"blk.\1.ffn_gate", r"blk.\1.ffn_up"),
    },
)
