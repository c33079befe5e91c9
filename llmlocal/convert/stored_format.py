"""Which tensors stay F32 when a model is converted, and the format of the others."""

from __future__ import annotations

from ..quant.format import BY_NAME, Format

# Small tensors that decide much, and tables that are added to activations or scores, stay F32.
ALTUP = ("altup_correct_coef", "altup_predict_coef")
ADDED = ("position_embd", "token_types", "attn_rel_b", "rel_embd", "attn_part")
TAPS = ("ssm_conv1d", "ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v", "shortconv.conv")
TIME_MIX = tuple(f"time_mix_{name}" for name in ("first", "w1", "w2", "decay_w1", "decay_w2", "lerp_fused"))
PRECISE = ("ffn_gate_inp", "ffn_gate_inp_shexp", *TAPS, *TIME_MIX, *ADDED, *ALTUP)


def stored_format(name: str, shape: tuple[int, ...], wanted: type[Format]) -> type[Format]:
    """The format of a tensor in a file whose matrices are `wanted`; F16 where its block does not divide a row."""
    stem, _, last = name.rpartition(".")
    if len(shape) == 1 or last != "weight" or stem.endswith(("_norm", *PRECISE)):
        return BY_NAME["F32"]
    return wanted if shape[-1] % wanted.block == 0 else BY_NAME["F16"]
