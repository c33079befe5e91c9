"""The tensors of a `Shape`: their names and sizes, and how random values are scaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from model_shapes import Shape
from numpy.typing import NDArray

Draw = Callable[..., "Weights"]  # a matrix or a norm by its name, sizes and gain
PRECISE = ("_inp.", "conv1d", "shortconv.conv", "ssm_a", "ssm_d", "ssm_norm")  # of more than one axis, but F32
NEVER = 1e30  # divides the frequency of a value that is not rotated


@dataclass(frozen=True, slots=True)
class Weights:
    """One tensor to draw: `shape` as in NumPy, normal values around `mean`."""

    name: str
    shape: tuple[int, ...]
    mean: float
    std: float

    @property
    def precise(self) -> bool:
        """Whether it stays F32 whatever format matrices have."""
        return len(self.shape) == 1 or any(kind in self.name for kind in PRECISE)


def weights(s: Shape, vocab: int) -> Iterator[Weights]:
    """All drawn tensors in file order.

    A matrix has std 1 / sqrt(fan in), and what is added to the residual stream a further 1 / sqrt(2 layers). The last
    norm is larger, so that logits have a spread of 2.5. Queries and keys are not: sharp attention of random heads
    makes a chaotic model, in which two correct engines soon disagree (1.5 times the queries and keys: NMSE tenfold).
    """

    def matrix(name: str, rows: int, k: int, gain: float = 1.0) -> Weights:
        return Weights(f"{name}.weight", (rows, k), 0.0, gain / math.sqrt(k))

    def norm(name: str, n: int, mean: float = 1.0) -> Weights:
        return Weights(f"{name}.weight", (n,), mean, 0.1)

    added = 1 / math.sqrt(2 * s.layers)
    yield matrix("token_embd", vocab, s.width)
    if s.inputs:
        yield matrix("per_layer_token_embd", vocab, s.layers * s.inputs)
        yield matrix("per_layer_model_proj", s.layers * s.inputs, s.width)
        yield norm("per_layer_proj_norm", s.inputs)
    for i in range(s.layers):
        blk = f"blk.{i}."
        yield norm(blk + "attn_norm", s.width)
        if s.mixes(i):
            yield from recurrent_layer(s, blk, matrix, norm, added)
        else:
            yield from attention_layer(s, i, matrix, norm, added)
        if s.post_norm:
            yield norm(blk + "post_attention_norm", s.width, added)
            yield norm(blk + "post_ffw_norm", s.width, added)
        yield norm(blk + ("post_attention_norm" if s.architecture == "qwen35" else "ffn_norm"), s.width)
        yield from feed_forward(s, i, matrix, added)
        if s.inputs:
            yield matrix(blk + "inp_gate", s.inputs, s.width)
            yield matrix(blk + "proj", s.width, s.inputs)
            yield norm(blk + "post_norm", s.width, added)
            yield norm(blk + "layer_output_scale", 1)
    spread = 2.5 * s.factors.get("logit_scale", 1.0)
    yield norm("token_embd_norm" if s.architecture == "lfm2" else "output_norm", s.width, spread)


def attention_layer(s: Shape, i: int, matrix: Draw, norm: Draw, added: float) -> Iterator[Weights]:
    """Tensors of an attention; Qwen3.5's queries have gates beside them."""
    blk, head = f"blk.{i}.", s.head_of(i)
    yield matrix(blk + "attn_q", s.heads * head * (2 if s.architecture == "qwen35" else 1), s.width)
    if not s.borrows(i):
        yield matrix(blk + "attn_k", s.kv_heads * head, s.width)
        yield matrix(blk + "attn_v", s.kv_heads * head, s.width)
    if s.head_norm:
        yield norm(blk + "attn_q_norm", head)
    if s.head_norm and not s.borrows(i):
        yield norm(blk + "attn_k_norm", head)
    yield matrix(blk + "attn_output", s.width, s.heads * head, added)


def recurrent_layer(s: Shape, blk: str, matrix: Draw, norm: Draw, added: float) -> Iterator[Weights]:
    """Tensors of a gated delta net (Qwen3.5), of Mamba-2 (Granite H), or of a gated short convolution (LFM2)."""
    if s.delta[0]:
        yield from delta_net(s, blk, matrix, norm, added)
    elif s.scan[0]:
        yield from mamba2(s, blk, matrix, added)
    else:
        yield matrix(blk + "shortconv.in_proj", 3 * s.width, s.width)
        yield matrix(blk + "shortconv.conv", s.width, 3)
        yield matrix(blk + "shortconv.out_proj", s.width, s.width, added)


def delta_net(s: Shape, blk: str, matrix: Draw, norm: Draw, added: float) -> Iterator[Weights]:
    """Tensors of a gated delta net, as many heads for keys as for values."""
    heads, size = s.delta
    yield matrix(blk + "attn_qkv", 3 * heads * size, s.width)
    yield matrix(blk + "attn_gate", heads * size, s.width)
    yield matrix(blk + "ssm_conv1d", 3 * heads * size, 4)
    yield Weights(blk + "ssm_dt.bias", (heads,), 0.0, 0.3)
    yield Weights(blk + "ssm_a", (heads,), -1.0, 0.2)
    yield matrix(blk + "ssm_alpha", heads, s.width)
    yield matrix(blk + "ssm_beta", heads, s.width)
    yield norm(blk + "ssm_norm", size)
    yield matrix(blk + "ssm_out", s.width, heads * size, added)


def mamba2(s: Shape, blk: str, matrix: Draw, added: float) -> Iterator[Weights]:
    """Tensors of a Mamba-2 layer with one group."""
    (heads, size), inner = s.scan, 2 * s.width
    channels = inner + 2 * size
    yield matrix(blk + "ssm_in", inner + channels + heads, s.width)
    yield matrix(blk + "ssm_conv1d", channels, 4)
    yield Weights(blk + "ssm_conv1d.bias", (channels,), 0.0, 0.1)
    yield Weights(blk + "ssm_dt.bias", (heads,), 0.0, 0.3)
    yield Weights(blk + "ssm_a", (heads, 1), -1.0, 0.2)
    yield Weights(blk + "ssm_d", (heads, 1), 1.0, 0.1)
    yield Weights(blk + "ssm_norm.weight", (1, inner), 1.0, 0.1)
    yield matrix(blk + "ssm_out", s.width, inner, added)


def feed_forward(s: Shape, i: int, matrix: Draw, added: float) -> Iterator[Weights]:
    """Tensors of a gated feed-forward, or of experts, each of which is one."""
    blk, ffn = f"blk.{i}.", s.ffn_of(i)

    def stack(name: str, rows: int, k: int, gain: float = 1.0) -> Weights:
        return Weights(f"{name}.weight", (s.experts, rows, k), 0.0, gain / math.sqrt(k))

    if s.experts:
        yield matrix(blk + "ffn_gate_inp", s.experts, s.width)
        yield stack(blk + "ffn_gate_exps", ffn, s.width)
        yield stack(blk + "ffn_up_exps", ffn, s.width)
        yield stack(blk + "ffn_down_exps", s.width, ffn, added)
    else:
        yield matrix(blk + "ffn_gate", ffn, s.width)
        yield matrix(blk + "ffn_up", ffn, s.width)
        yield matrix(blk + "ffn_down", s.width, ffn, added)


def rope_factors(s: Shape) -> NDArray[np.float32] | None:
    """Divisors of the rope frequencies, `rope_freqs.weight`; None where a file of this shape has none."""
    if s.llama31_rope:
        return llama31_factors(s)
    return proportional_factors(s) if s.period else None


def llama31_factors(s: Shape) -> NDArray[np.float32]:
    """Divisors (head / 2,): 1 for short waves, 32 for long ones, smooth between."""
    factor, low, high, original = 32.0, 1.0, 4.0, 8192.0
    turns = original * s.theta ** (-np.arange(0, s.head, 2) / s.head) / (2 * math.pi)  # within the original context
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def proportional_factors(s: Shape) -> NDArray[np.float32]:
    """Divisors (head,) of blocks without a window, whose heads are twice as wide: a quarter of them is rotated."""
    factors = np.full(s.head, NEVER, np.float32)
    factors[: s.head // 4] = 1
    return factors
