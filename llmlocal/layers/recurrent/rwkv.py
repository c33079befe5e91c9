"""Layers of RWKV-6 and RWKV-7, with weights under GGUF's tensor names: time mix in the place of attention, and channel
mix in that of a feed-forward. Both read a token together with the one before it. Peng et al., arXiv 2404.05892 and
2503.14456."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...ops.short_conv import plain_conv
from ...ops.wkv import key_bonus, wkv6, wkv6_decay, wkv7, wkv7_keys
from ...quant.jit.kernel import Kernel
from ...quant.tensor import QTensor
from ...runtime.graph import Value
from .. import Layers
from ..decoder import decoder
from ..hyperparameters import Hyperparameters
from ..metadata import Config
from ..weights import Weights
from . import short_conv

EPS = 64e-5  # of the norm of each head, whatever that of the other norms is

Norm = Callable[[Layers, Hyperparameters, Weights, str, Value], Value]
Mix = Callable[[Hyperparameters, Weights, Value], Value]  # of a block's sizes, its tensors and its normed input


@dataclass(frozen=True, slots=True)
class Heads:
    """Heads of the time mix, and their size."""

    count: int
    dim: int

    @classmethod
    def read(cls, c: Config, h: Hyperparameters) -> Heads:
        """Read and check metadata. Raises BadFileError for missing, wrong or unsupported values."""
        dim = c.integer("wkv.head_size", 1, 1 << 12)
        if h.width % dim or dim % 8:
            raise c.fail(f"{c.arch}.wkv.head_size is {dim}, must be a multiple of 8 that divides {h.width}")
        return cls(h.width // dim, dim)


def rwkv(
    g: Layers, h: Hyperparameters, w: Weights, vocab: int, norm: Norm, mixes: tuple[Mix, Mix], rescale: int = 0
) -> Value:
    """Logits (outputs, vocab) of blocks of a time mix and a channel mix, after a norm of the embedding.

    The state between blocks is halved after each `rescale` blocks, unless that is 0.
    """

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = norm(g, h, w, "token_embd_norm", x) if i == 0 else x
        x = g.add(x, mixes[0](h, b, norm(g, h, b, "attn_norm", x)))
        x = g.add(x, mixes[1](h, b, norm(g, h, b, "attn_norm_2", x)))
        return g.scale(x, 0.5) if rescale and (i + 1) % rescale == 0 else x

    return decoder(g, h, w, vocab, block, norm)


def previous(g: Layers, x: Value) -> Value:
    """x (tokens, width) of the token before each, zeros before the first."""
    taps = np.tile(np.array([1, 0], np.float32), (x.width, 1))
    return short_conv(g, plain_conv(2), x, taps)


def time_mix_7(
    g: Layers,
    h: Hyperparameters,
    s: Heads,
    ranks: dict[str, int],
    w: Weights,
    x: Value,
    first: Value | None,
    *,
    norm: bool = True,
) -> tuple[Value, Value]:
    """The time mix of RWKV-7 of x (tokens, width), and its values, which later blocks get as `first`.

    `ranks`: those of the low-rank projections of decays (w), rates (a), values (v) and gates (g; 0: there is no gate).
    `norm`: whether heads are normalized.
    """
    before, width, count = previous(g, x), h.width, 6 if ranks["g"] else 5
    shares = replace(w.vector("time_mix_lerp_fused.weight", count, 1, 1, width), shape=(count, width))
    xs = [g.lerp(x, before, shares.part(i, i + 1)) for i in range(count)]
    names = ("time_mix_receptance", "time_mix_key", "time_mix_value")
    r, k, v = (g.linear(xs[i], *w.linear(name, width, width)) for i, name in zip((0, 2, 3), names, strict=True))

    def low_rank(name: str, x: Value, activation: Callable[[Value], Value] = lambda x: x) -> Value:
        bias = None if name == "g" else w.vector(f"time_mix_{name}0.weight", width)
        inner = activation(g.linear(x, w.matrix(f"time_mix_{name}1.weight", ranks[name], width)))
        return g.linear(inner, w.matrix(f"time_mix_{name}2.weight", width, ranks[name]), bias)

    decay, rate = low_rank("w", xs[1], g.tanh), g.sigmoid(low_rank("a", xs[4]))
    if first is not None:
        v = g.lerp(v, first, g.sigmoid(low_rank("v", xs[3])))
    tokens, removal = g.graph.batch.tokens, g.graph.value(width)
    scale, share, bonus = (w.vector(f"time_mix_{name}.weight", width).address for name in ("k_k", "k_a", "r_k"))
    heads: dict[str, Any] = {"heads": s.count, "dim": s.dim}
    keys: dict[str, Any] = {"w": decay, "k": k, "rate": rate, "removal": removal, "scale": scale, "share": share}
    g.graph.add(wkv7_keys, tokens=tokens, **keys, **heads)
    out = wkv(g, s, wkv7(s.dim), r, decay, k, v, removal, rate)
    out = head_norm(g, s, w, out) if norm else out
    g.graph.add(key_bonus, tokens=tokens, out=out, r=r, k=k, v=v, bonus=bonus, **heads)
    out = g.multiply(g.overwritten(out), low_rank("g", xs[5], g.sigmoid)) if ranks["g"] else g.overwritten(out)
    return g.linear(out, *w.linear("time_mix_output", width, width)), v


def time_mix_6(g: Layers, h: Hyperparameters, s: Heads, rank: int, decay_rank: int, w: Weights, x: Value) -> Value:
    """The time mix of RWKV-6 of x (tokens, width). `rank` and `decay_rank`: see `projections_6`."""
    k, v, r, gate, decay = projections_6(g, h, h.width, rank, decay_rank, w, x)
    bonus = w.vector("time_mix_first.weight", s.count, s.dim).address
    out = head_norm(g, s, w, wkv(g, s, wkv6(s.dim), r, decay, k, v, bonus, 0))
    return g.linear(g.swiglu(gate, out), *w.linear("time_mix_output", h.width, h.width))


def projections_6(
    g: Layers, h: Hyperparameters, kv_width: int, rank: int, decay_rank: int, w: Weights, x: Value
) -> tuple[Value, Value, Value, Value, Value]:
    """Keys and values (tokens, kv_width), receptance, gate and decays (tokens, width) of x (tokens, width).

    They read each token mixed with the one before it, in shares that depend on both. `rank`: that of each low-rank
    projection to these shares; `decay_rank`: of the projection to decays.
    """
    before, width = previous(g, x), h.width
    both = g.lerp(x, before, w.vector("time_mix_lerp_x.weight", width))
    inner = g.tanh(g.linear(both, w.matrix("time_mix_w1.weight", 5 * rank, width)))
    up = replace(w.matrix("time_mix_w2.weight", 5, width, rank), shape=(5 * width, rank))
    shares = replace(w.vector("time_mix_lerp_fused.weight", 5, 1, 1, width), shape=(5, width))

    def mixed(i: int) -> Value:
        part = g.columns(inner, first=i * rank, width=rank)
        return g.lerp(x, before, g.linear(part, up.part(i * width, (i + 1) * width), shares.part(i, i + 1)))

    rows = {"time_mix_key": kv_width, "time_mix_value": kv_width, "time_mix_receptance": width, "time_mix_gate": width}
    k, v, r, gate = (g.linear(mixed(i), *w.linear(name, n, width)) for i, (name, n) in enumerate(rows.items(), 1))
    inner_decay = g.tanh(g.linear(mixed(0), w.matrix("time_mix_decay_w1.weight", decay_rank, width)))
    up_decay, bias = w.matrix("time_mix_decay_w2.weight", width, decay_rank), w.vector("time_mix_decay.weight", width)
    decay = g.linear(inner_decay, up_decay, bias)
    g.graph.add(wkv6_decay, tokens=g.graph.batch.tokens, w=decay, width=width)
    return k, v, r, gate, g.overwritten(decay)


def gated_linear_attention(
    g: Layers, h: Hyperparameters, s: Heads, kv_heads: int, rank: int, decay_rank: int, w: Weights, x: Value
) -> Value:
    """The time mix of QRWKV-6 of x (tokens, width): without bonus and norm, keys and values shared by groups of heads.

    Keys are multiplied by what the state forgets; receptance reads the state after the token. It is RWKV-7's state
    from which nothing is removed. Yang et al. 2023, arXiv 2312.06635. `rank` and `decay_rank`: see `projections_6`.
    """
    k, v, r, gate, decay = projections_6(g, h, kv_heads * s.dim, rank, decay_rank, w, x)
    k, v = (repeated(g, some, s.dim, s.count // kv_heads) for some in (k, v))
    kept = g.scale(g.multiply(g.columns(k, first=0, width=k.width), decay), -1.0)
    nothing = g.keep(np.zeros((g.graph.batch.ubatch, h.width), np.float32))
    out = wkv(g, s, wkv7(s.dim), g.scale(r, s.dim**-0.5), decay, g.add(k, kept), v, nothing, nothing)
    return g.linear(g.sigmoid_gate(gate, out), *w.linear("time_mix_output", h.width, h.width))


def repeated(g: Layers, x: Value, dim: int, times: int) -> Value:
    """Each head of x (tokens, heads * dim) as often, one beside the other."""
    out = g.graph.value(times * x.width)
    for i in range(times):
        g.copy_columns(x, out, i * dim, first=0, width=dim, groups=x.width // dim, apart=times * dim)
    return out


def wkv(
    g: Layers,
    s: Heads,
    kernel: Kernel,
    r: Value,
    decay: Value,
    k: Value,
    v: Value,
    removal: Value | int,
    rate: Value | int,
) -> Value:
    """What r reads from the state -> (tokens, heads * dim). The operands are those of the kernel, `wkv6` or `wkv7`."""
    out, shared = g.graph.value(v.width), g.states.arguments(g.states.add_layer(v.width * s.dim))
    inputs: dict[str, Any] = {"r": r, "decay": decay, "k": k, "v": v, "removal": removal, "rate": rate}
    g.graph.add(kernel, **shared, **inputs, out=out, heads=s.count, dim=s.dim)
    return out


def head_norm(g: Layers, s: Heads, w: Weights, x: Value) -> Value:
    """Layer norm of each head of x (tokens, heads * dim)."""
    weight, bias = (w.vector(f"time_mix_ln.{name}", x.width) for name in ("weight", "bias"))
    return g.layer_norm(x, replace(weight, shape=(s.count, s.dim)), bias, EPS)


def channel_mix(g: Layers, h: Hyperparameters, w: Weights, x: Value, *, gated: bool) -> Value:
    """The channel mix of x (tokens, width): an MLP with squared ReLU.

    It is `gated` in RWKV-6.
    """
    before = previous(g, x)

    def share(name: str) -> QTensor:
        return w.vector(f"channel_mix_lerp_{name}.weight", h.width)

    up = g.relu_squared(g.linear(g.lerp(x, before, share("k")), *w.linear("channel_mix_key", h.ffn, h.width)))
    out = g.linear(up, *w.linear("channel_mix_value", h.width, h.ffn))
    if not gated:
        return out
    receptance = w.linear("channel_mix_receptance", h.width, h.width)
    return g.sigmoid_gate(g.linear(g.lerp(x, before, share("r")), *receptance), out)
