"""RWKV-6 and RWKV-7 in NumPy, float64: the formulas of the public models, for classes that transformers does not have.

Names of tensors are those of the Hugging Face folders. Peng et al., arXiv 2404.05892 and 2503.14456.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Tensors = Mapping[str, Floats]
HEAD_EPS = 64e-5


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a folder, by name."""
    return _of_class(config)[0](config)


def logits(config: Mapping[str, Any], tensors: Tensors, ids: list[int]) -> Floats:
    """Logits (tokens, vocabulary) of `ids`."""
    wide = {name: x.astype(np.float64) for name, x in tensors.items()}
    return _of_class(config)[1](config, wide, ids)


def _of_class(config: Mapping[str, Any]) -> tuple[Any, Any]:
    return {"Rwkv6ForCausalLM": (_shapes6, _logits6), "RWKV7ForCausalLM": (_shapes7, _logits7)}[
        config["architectures"][0]
    ]


def layer_norm(x: Floats, t: Tensors, name: str, eps: float, groups: int = 1) -> Floats:
    """Layer norm of each of the groups of columns."""
    parts = x.reshape(len(x), groups, -1)
    centred = parts - parts.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return normed.reshape(x.shape) * t[f"{name}.weight"] + t[f"{name}.bias"]


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def shifted(x: Floats) -> Floats:
    """Rows of the tokens before, zeros before the first."""
    return np.concatenate([np.zeros_like(x[:1]), x[:-1]])


def _shapes6(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    width, ffn, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    out: dict[str, tuple[int, ...]] = {"rwkv.embeddings.weight": (vocab, width), "head.weight": (vocab, width)}
    norms = ["rwkv.blocks.0.pre_ln", "rwkv.ln_out"]
    for i in range(config["num_hidden_layers"]):
        block = f"rwkv.blocks.{i}."
        norms += [f"{block}{name}" for name in ("ln1", "ln2", "attention.ln_x")]
        out |= {f"{block}attention.time_maa_{name}": (1, 1, width) for name in "xwkvrg"}
        out |= {f"{block}attention.time_maa_w1": (width, 5 * 32), f"{block}attention.time_maa_w2": (5, 32, width)}
        out |= {f"{block}attention.time_decay_w1": (width, 64), f"{block}attention.time_decay_w2": (64, width)}
        out[f"{block}attention.time_decay"] = (1, 1, width)
        out[f"{block}attention.time_faaaa"] = (width // config["head_size"], config["head_size"])
        matrices = ("receptance", "key", "value", "gate", "output")
        out |= {f"{block}attention.{name}.weight": (width, width) for name in matrices}
        out |= {f"{block}feed_forward.time_maa_{name}": (1, 1, width) for name in "kr"}
        out |= {f"{block}feed_forward.key.weight": (ffn, width), f"{block}feed_forward.value.weight": (width, ffn)}
        out[f"{block}feed_forward.receptance.weight"] = (width, width)
    return out | {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}


def _logits6(config: Mapping[str, Any], t: Tensors, ids: list[int]) -> Floats:
    eps = config["layer_norm_epsilon"]
    x = layer_norm(t["rwkv.embeddings.weight"][ids], t, "rwkv.blocks.0.pre_ln", eps)
    for i in range(config["num_hidden_layers"]):
        block = f"rwkv.blocks.{i}."
        x = x + _time_mix6(layer_norm(x, t, f"{block}ln1", eps), t, f"{block}attention.", config["head_size"])
        read, at = layer_norm(x, t, f"{block}ln2", eps), f"{block}feed_forward."
        for_key, for_gate = (read + (shifted(read) - read) * t[f"{at}time_maa_{name}"].reshape(-1) for name in "kr")
        up = np.maximum(for_key @ t[f"{at}key.weight"].T, 0) ** 2
        x = x + sigmoid(for_gate @ t[f"{at}receptance.weight"].T) * (up @ t[f"{at}value.weight"].T)
    return layer_norm(x, t, "rwkv.ln_out", eps) @ t["head.weight"].T


def _time_mix6(x: Floats, t: Tensors, at: str, dim: int) -> Floats:
    change = shifted(x) - x
    both = x + change * t[f"{at}time_maa_x"].reshape(-1)
    inner = np.tanh(both @ t[f"{at}time_maa_w1"]).reshape(len(x), 5, -1)
    shares = np.einsum("tjr,jrc->jtc", inner, t[f"{at}time_maa_w2"])
    xw, xk, xv, xr, xg = (
        x + change * (t[f"{at}time_maa_{name}"].reshape(-1) + share)
        for name, share in zip("wkvrg", shares, strict=True)
    )
    names = ("receptance", "key", "value", "gate")
    r, k, v, gate = (x @ t[f"{at}{name}.weight"].T for x, name in zip((xr, xk, xv, xg), names, strict=True))
    low = np.tanh(xw @ t[f"{at}time_decay_w1"]) @ t[f"{at}time_decay_w2"]
    decay = np.exp(-np.exp(t[f"{at}time_decay"].reshape(-1) + low))
    r, k, v, decay = (y.reshape(len(x), -1, dim) for y in (r, k, v, decay))
    state, out, bonus = np.zeros((r.shape[1], dim, dim)), np.empty_like(v), t[f"{at}time_faaaa"]
    for n in range(len(x)):  # the state (heads, keys, values)
        added = k[n][:, :, None] * v[n][:, None]
        out[n] = np.einsum("hk,hkv->hv", r[n], state + bonus[:, :, None] * added)
        state = decay[n][:, :, None] * state + added
    normed = layer_norm(out.reshape(x.shape), t, f"{at}ln_x", HEAD_EPS, r.shape[1])
    return normed * gate * sigmoid(gate) @ t[f"{at}output.weight"].T


def _shapes7(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    width, ffn, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    norms = {"attn_norm", "ffn_norm", "attn.g_norm"}
    ranks = {"w": "decay", "a": "a", "v": "v", "g": "gate"}
    out: dict[str, tuple[int, ...]] = {"model.embeddings.weight": (vocab, width), "lm_head.weight": (vocab, width)}
    for i in range(config["num_hidden_layers"]):
        block = f"model.layers.{i}."
        for norm in sorted(norms | ({"pre_norm"} if i == 0 else set())):
            out |= {f"{block}{norm}.weight": (width,), f"{block}{norm}.bias": (width,)}
        out |= {f"{block}attn.x_{name}": (1, 1, width) for name in "rwkvag"}
        out |= {f"{block}attn.{name}_proj.weight": (width, width) for name in "rkvo"}
        out |= {f"{block}attn.k_k": (width,), f"{block}attn.k_a": (width,)}
        out[f"{block}attn.r_k"] = (width // config["head_dim"], config["head_dim"])
        for name, kind in ranks.items():
            if name == "v" and i == 0:
                continue
            rank, lora = config[f"{kind}_low_rank_dim"], f"{block}attn.{name}_lora.lora"
            out |= {f"{lora}.0.weight": (rank, width), f"{lora}.2.weight": (width, rank)}
            if name != "g":
                out[f"{lora}.2.bias"] = (width,)
        out |= {f"{block}ffn.x_k": (width,), f"{block}ffn.key.weight": (ffn, width)}
        out[f"{block}ffn.value.weight"] = (width, ffn)
    return out | {"model.norm.weight": (width,), "model.norm.bias": (width,)}


def _logits7(config: Mapping[str, Any], t: Tensors, ids: list[int]) -> Floats:
    eps, dim = config["norm_eps"], config["head_dim"]
    x, first = layer_norm(t["model.embeddings.weight"][ids], t, "model.layers.0.pre_norm", eps), None
    for i in range(config["num_hidden_layers"]):
        block = f"model.layers.{i}."
        mixed, first = _time_mix7(layer_norm(x, t, f"{block}attn_norm", eps), t, f"{block}attn.", dim, first)
        x = x + mixed
        read = layer_norm(x, t, f"{block}ffn_norm", eps)
        read = read + (shifted(read) - read) * t[f"{block}ffn.x_k"]
        x = x + np.maximum(read @ t[f"{block}ffn.key.weight"].T, 0) ** 2 @ t[f"{block}ffn.value.weight"].T
    return layer_norm(x, t, "model.norm", eps) @ t["lm_head.weight"].T


def _time_mix7(x: Floats, t: Tensors, at: str, dim: int, first: Floats | None) -> tuple[Floats, Floats]:
    xr, xw, xk, xv, xa, xg = (x + (shifted(x) - x) * t[f"{at}x_{name}"].reshape(-1) for name in "rwkvag")

    def lora(name: str, x: Floats, activation: Any = lambda x: x) -> Floats:
        inner = activation(x @ t[f"{at}{name}_lora.lora.0.weight"].T)
        return inner @ t[f"{at}{name}_lora.lora.2.weight"].T + t.get(f"{at}{name}_lora.lora.2.bias", 0.0)

    r, k, v = (x @ t[f"{at}{name}_proj.weight"].T for x, name in ((xr, "r"), (xk, "k"), (xv, "v")))
    decay = np.exp(-np.exp(-0.5) * sigmoid(lora("w", xw, np.tanh)))
    rate, gate = sigmoid(lora("a", xa)), lora("g", xg, sigmoid)
    v = v if first is None else v + (first - v) * sigmoid(lora("v", xv))
    heads = lambda x: x.reshape(len(x), -1, dim)  # noqa: E731
    removal = heads(k * t[f"{at}k_k"])
    removal = removal / np.linalg.norm(removal, axis=-1, keepdims=True)
    k = k * (1 + (rate - 1) * t[f"{at}k_a"])
    r, decay, k, values, rate = (heads(x) for x in (r, decay, k, v, rate))
    state, out = np.zeros((r.shape[1], dim, dim)), np.empty_like(values)
    for n in range(len(x)):  # the state (heads, values, keys), as in the paper
        lost = np.einsum("hvk,hk->hv", state, removal[n])
        state = state * decay[n][:, None] - lost[:, :, None] * (removal[n] * rate[n])[:, None]
        state = state + values[n][:, :, None] * k[n][:, None]
        out[n] = np.einsum("hvk,hk->hv", state, r[n])
    normed = layer_norm(out.reshape(x.shape), t, f"{at}g_norm", HEAD_EPS, r.shape[1])
    bonus = (r * k * t[f"{at}r_k"]).sum(-1, keepdims=True) * values
    return (normed + bonus.reshape(x.shape)) * gate @ t[f"{at}o_proj.weight"].T, v if first is None else first
