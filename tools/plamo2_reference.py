"""Logits of tiny PLaMo 2 models in float64, by the formulas of the published modeling_plamo.py; llama.cpp's loop does not
end for models of this size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]
OFFSETS = {"pre_mixer_norm": 1.0, "post_mixer_norm": 1 / 5, "pre_mlp_norm": 1.0, "post_mlp_norm": 1 / 5**1.5}


def logits(config: Mapping[str, Any], tensors: Tensors, ids: list[int]) -> NDArray[np.float64]:
    """Logits (tokens, vocabulary) of `ids`."""
    w = {name: x.astype(np.float64) for name, x in tensors.items()}
    x = w["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        own = {name: y for name, y in _below(w, f"model.layers.layers.{i}.").items()}
        scales = {name: own[f"{name}.weight"] + offset for name, offset in OFFSETS.items()}
        mix = _attention if i % config["mamba_step"] == config["mamba_step"] // 2 else _mamba
        x = x + _norm(mix(config, _below(own, "mixer."), _norm(x, scales["pre_mixer_norm"])), scales["post_mixer_norm"])
        gate, up = np.split(_norm(x, scales["pre_mlp_norm"]) @ own["mlp.gate_up_proj.weight"].T, 2, axis=1)
        x = x + _norm((_silu(gate) * up) @ own["mlp.down_proj.weight"].T, scales["post_mlp_norm"])
    return _norm(x, w["model.norm.weight"] + 1) @ w["lm_head.weight"].T


def _below(w: Tensors, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): x for name, x in w.items() if name.startswith(prefix)}


def _norm(x: NDArray[Any], scale: NDArray[Any], eps: float = 1e-5) -> NDArray[Any]:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale


def _silu(x: NDArray[Any]) -> NDArray[Any]:
    return x / (1 + np.exp(-x))


def _attention(config: Mapping[str, Any], w: Tensors, x: NDArray[Any]) -> NDArray[Any]:
    heads, groups, dim = config["num_attention_heads"], config["num_key_value_heads"], config["hidden_size_per_head"]
    qkv = (x @ w["qkv_proj.weight"].T).reshape(len(x), -1, dim)
    q, k, v = np.split(qkv, [heads, heads + groups], axis=1)
    q, k = _norm(q, w["q_weight"]), _norm(k, w["k_weight"])
    angles = np.arange(len(x))[:, None] * config["rope_theta"] ** (-np.arange(0, dim, 2) / dim)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    (q, k) = (np.concatenate([a * cos - b * sin, b * cos + a * sin], -1) for a, b in (np.split(y, 2, -1) for y in (q, k)))
    k, v = (np.repeat(y, heads // groups, axis=1) for y in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / dim**0.5
    weights = np.exp(np.where(np.tri(len(x), dtype=bool), scores, -np.inf))
    out = np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), v)
    return out.reshape(len(x), -1) @ w["o_proj.weight"].T


def _mamba(config: Mapping[str, Any], w: Tensors, x: NDArray[Any]) -> NDArray[Any]:
    heads, dim, size = config["mamba_num_heads"], config["hidden_size_per_head"], config["mamba_d_state"]
    gate, inputs = np.split((x @ w["in_proj.weight"].T).reshape(len(x), heads, 2 * dim), 2, axis=-1)
    taps = w["conv1d.weight"][:, 0]
    before = np.concatenate([np.zeros((taps.shape[1] - 1, heads * dim)), inputs.reshape(len(x), -1)])
    mixed = _silu(sum(before[i : i + len(x)] * taps[:, i] for i in range(taps.shape[1])))
    b, c, dt = np.split(mixed @ w["bcdt_proj.weight"].T, [size, 2 * size], axis=1)
    b, c, dt = (_norm(y, w[f"{name}_norm_weight"]) for name, y in (("B", b), ("C", c), ("dt", dt)))
    step = np.log1p(np.exp(dt @ w["dt_proj.weight"].T + w["dt_bias"]))
    state, out = np.zeros((heads, dim, size)), []
    for t, values in enumerate(mixed.reshape(len(x), heads, dim)):
        decay = np.exp(-np.exp(w["A_log"]) * step[t])
        state = state * decay[:, None, None] + (step[t][:, None] * values)[:, :, None] * b[t]
        out.append((state @ c[t] + w["D"][:, None] * values) * _silu(gate[t]))
    return np.array(out).reshape(len(x), -1) @ w["out_proj.weight"].T
