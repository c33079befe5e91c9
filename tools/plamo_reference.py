"""PLaMo and PLaMo 2 in NumPy, float64: the formulas of the published modeling_plamo.py.

llama.cpp converts the first PLaMo in its one size alone, and does not end its run of a tiny PLaMo 2. Names of tensors
are those of the Hugging Face folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]
LAYERS = "model.layers.layers."
OFFSETS = {"pre_mixer_norm": 1.0, "post_mixer_norm": 1 / 5, "pre_mlp_norm": 1.0, "post_mlp_norm": 1 / 5**1.5}


def logits(config: Mapping[str, Any], tensors: Tensors, ids: list[int]) -> NDArray[np.float64]:
    """Logits (tokens, vocabulary) of `ids`."""
    w = {name: x.astype(np.float64) for name, x in tensors.items()}
    first = config["model_type"] == "plamo"
    x = w["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        x = (_block if first else _block2)(config, _below(w, f"{LAYERS}{i}."), i, x)
    return _norm(x, w["model.norm.weight"] + (0 if first else 1)) @ w["lm_head.weight"].T


def _block(config: Mapping[str, Any], w: Tensors, _: int, x: NDArray[Any]) -> NDArray[Any]:
    """Attention and MLP of the same norm; query head h reads key head h modulo their number."""
    read, dim = _norm(x, w["norm.weight"]), config["hidden_size"] // config["num_attention_heads"]
    q, k, v = ((read @ w[f"self_attn.{name}_proj.weight"].T).reshape(len(x), -1, dim) for name in "qkv")
    k, v = (np.tile(y, (1, config["n_shared_head"], 1)) for y in (k, v))
    attended = _attended(config, q, k, v) @ w["self_attn.o_proj.weight"].T
    hidden = _silu(read @ w["mlp.gate_proj.weight"].T) * (read @ w["mlp.up_proj.weight"].T)
    return x + attended + hidden @ w["mlp.down_proj.weight"].T


def _block2(config: Mapping[str, Any], w: Tensors, i: int, x: NDArray[Any]) -> NDArray[Any]:
    scales = {name: w[f"{name}.weight"] + offset for name, offset in OFFSETS.items()}
    mix = _attention if i % config["mamba_step"] == config["mamba_step"] // 2 else _mamba
    x = x + _norm(mix(config, _below(w, "mixer."), _norm(x, scales["pre_mixer_norm"])), scales["post_mixer_norm"])
    gate, up = np.split(_norm(x, scales["pre_mlp_norm"]) @ w["mlp.gate_up_proj.weight"].T, 2, axis=1)
    return x + _norm((_silu(gate) * up) @ w["mlp.down_proj.weight"].T, scales["post_mlp_norm"])


def _below(w: Tensors, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): x for name, x in w.items() if name.startswith(prefix)}


def _norm(x: NDArray[Any], scale: NDArray[Any], eps: float = 1e-5) -> NDArray[Any]:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale


def _silu(x: NDArray[Any]) -> NDArray[Any]:
    return x / (1 + np.exp(-x))


def _attention(config: Mapping[str, Any], w: Tensors, x: NDArray[Any]) -> NDArray[Any]:
    heads, groups, dim = config["num_attention_heads"], config["num_key_value_heads"], config["hidden_size_per_head"]
    q, k, v = np.split((x @ w["qkv_proj.weight"].T).reshape(len(x), -1, dim), [heads, heads + groups], axis=1)
    k, v = (np.repeat(y, heads // groups, axis=1) for y in (_norm(k, w["k_weight"]), v))
    return _attended(config, _norm(q, w["q_weight"]), k, v) @ w["o_proj.weight"].T


def _attended(config: Mapping[str, Any], q: NDArray[Any], k: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Causal attention with rotary embedding of q, k, v (tokens, heads, dim) -> (tokens, heads * dim)."""
    tokens, _, dim = q.shape
    angles = np.arange(tokens)[:, None] * config["rope_theta"] ** (-np.arange(0, dim, 2) / dim)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    halves = (np.split(y, 2, -1) for y in (q, k))
    q, k = (np.concatenate([a * cos - b * sin, b * cos + a * sin], -1) for a, b in halves)
    scores = np.where(np.tri(tokens, dtype=bool), np.einsum("qhd,khd->hqk", q, k) / dim**0.5, -np.inf)
    weights = np.exp(scores)
    return np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), v).reshape(tokens, -1)


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
