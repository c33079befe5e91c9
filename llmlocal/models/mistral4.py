"""Mistral Small 4 (Mistral AI 2026): DeepSeek-V2's latent attention and experts, with queries scaled up with their
position."""

from __future__ import annotations

from ..hf.config import Keys, Settings, as_integer, as_number
from ..hf.conversion import UNTIED, Conversion, renames
from ..hf.latent import apart, latent_keys
from ..layers.hyperparameters import SOFTMAX
from .deepseek2 import DEFAULTS, build
from .dots1 import DEFAULTS as EXPERTS
from .dots1 import sparse_keys

__all__ = ["CONVERSION", "build"]


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what GGUF cannot say of these models."""
    if not s.flag("rope_interleave", default=True):
        raise s.fail("rope_interleave must be true", "")
    if s.integer("n_group", default=1) != 1:
        raise s.fail("n_group must be 1: groups are chosen otherwise than in DeepSeek-V2", "")
    s.values["head_dim"] = s.integer("qk_nope_head_dim") + s.integer("qk_rope_head_dim")
    scaling = {name: as_number(s, name, s.rope.get(name) or 0.0) for name in ("mscale", "mscale_all_dim")}
    if scaling["mscale"] != scaling["mscale_all_dim"]:
        raise s.fail(f"mscale {scaling['mscale']:g} differs from mscale_all_dim {scaling['mscale_all_dim']:g}", "")
    sharpens = as_number(s, "llama_4_scaling_beta", s.rope.get("llama_4_scaling_beta") or 0.0)
    every = s.rope.get("original_max_position_embeddings") or s.integer("max_position_embeddings")
    return (
        sparse_keys(s)
        | {"attention.head_count_kv": 1}
        | latent_keys(s)
        | {
            "rope.scaling.yarn_log_multiplier": 0.1 * scaling["mscale"] or None,
            "attention.temperature_scale": sharpens or None,
            "attention.temperature_length": as_integer(s, "original_max_position_embeddings", every),
            "expert_gating_func": SOFTMAX,
            "vocab_size": s.integer("vocab_size"),
        }
    )


YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 128.0, "original_max_position_embeddings": 8192}
YARN |= {"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}
CONVERSION = Conversion(
    classes=("Mistral3ForConditionalGeneration", "Mistral4ForCausalLM"),
    applies=lambda s: s.text("model_type") == "mistral4",
    defaults=UNTIED
    | EXPERTS
    | DEFAULTS
    | {"kv_lora_rank": 256, "q_lora_rank": 1024, "qk_nope_head_dim": 64, "rope_parameters": YARN},
    keys=keys,
    steps={
        r"kv_b_proj(?=\.weight$)": apart,
        r"(?<=experts\.)(gate_up_proj|down_proj)$": renames(r"\1.weight"),
    },
)
