"""Layers with a recurrent state, whose size does not depend on how many tokens were read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...ops.gated_delta import channel_decay, delta_gates, gated_delta
from ...ops.short_conv import gated_conv, silu_conv
from ...quant.jit.kernel import Kernel
from ...quant.tensor import QTensor
from ...runtime.graph import Value
from .. import Layers


def gated_short_conv(g: Layers, x: Value, weight: QTensor) -> Value:
    """LFM2's convolution of x (tokens, 3 * channels): input gate, output gate and input -> (tokens, channels).

    `weight` (channels, size) float32, the last column for the newest input.
    """
    return short_conv(g, gated_conv(weight.k), x, _taps(weight))


def silu_short_conv(g: Layers, x: Value, weight: QTensor, bias: QTensor | None = None, *, first: int = 0) -> Value:
    """SiLU of the convolution of columns from `first` on of x (tokens, width) -> (tokens, channels).

    `weight` (channels, size) float32, the last column for the newest input; `bias` (channels,).
    """
    return short_conv(g, silu_conv(weight.k), x, _taps(weight), bias, first=first)


def silu_short_convs(g: Layers, xs: Sequence[Value], weights: Sequence[QTensor]) -> Value:
    """As `silu_short_conv` of several values, each with a weight of its own; the results lie side by side."""
    together, at = g.graph.value(sum(x.width for x in xs)), 0
    for x in xs:
        g.copy_columns(x, together, at, first=0, width=x.width)
        at += x.width
    taps = np.concatenate([_taps(weight) for weight in weights])
    return short_conv(g, silu_conv(weights[0].k), together, taps)


def _taps(weight: QTensor) -> NDArray[np.float32]:
    return weight.dequantize().reshape(-1, weight.k)


def short_conv(
    g: Layers, kernel: Kernel, x: Value, taps: NDArray[np.float32], bias: QTensor | None = None, *, first: int = 0
) -> Value:
    """A convolution by `kernel`, of `ops.short_conv`, of columns from `first` on of x (tokens, width).

    `taps` (channels, size), the last column for the newest input; `bias` (channels,) -> (tokens, channels).
    """
    channels, size = taps.shape
    out = g.graph.value(channels)
    g.graph.add(
        kernel,
        **g.states.arguments(g.states.add_layer((size - 1) * channels)),
        x=x,
        row_bytes=4 * x.width,
        column=4 * first,
        weight=g.constant(taps.T),
        bias=bias.address if bias else g.constant(np.zeros(channels)),
        out=out,
        channels=channels,
    )
    return out


def gated_delta_rule(
    g: Layers, x: Value, alpha: Value, beta: Value, rate: QTensor, bias: QTensor, *, dim: int, group: int
) -> Value:
    """The gated delta rule over queries, keys and values in x (tokens, (2 * key_heads + heads) * dim) -> as values.

    alpha, beta (tokens, heads) are overwritten: the state decays by exp(rate softplus(alpha + bias)) and learns the
    share sigmoid(beta); rate, bias (heads,) float32. Value head h has the key head h // group % key_heads. `dim` is a
    multiple of 8.
    """
    heads = alpha.width
    g.graph.add(
        delta_gates,
        tokens=g.graph.batch.tokens,
        alpha=alpha,
        beta=beta,
        rate=rate.address,
        bias=bias.address,
        heads=heads,
    )
    return _delta_rule(g, gated_delta(dim), x, alpha, beta, dim=dim, group=group)


def channel_gated_delta_rule(
    g: Layers, x: Value, alpha: Value, beta: Value, rate: QTensor, bias: QTensor, *, dim: int
) -> Value:
    """The gated delta rule of Kimi Delta Attention over queries, keys and values in x (tokens, 3 * heads * dim).

    alpha (tokens, heads * dim) and beta (tokens, heads) are overwritten: each channel of the keys decays by
    exp(rate softplus(alpha + bias)), with the rate (heads, 1) of its head and a bias (heads * dim,) of its own, both
    float32. `dim` is a multiple of 8. Kimi Team 2025, arXiv 2510.26692.
    """
    rates, width = g.constant(rate.dequantize().reshape(-1).repeat(dim)), alpha.width
    g.graph.add(channel_decay, tokens=g.graph.batch.tokens, x=alpha, rate=rates, bias=bias.address, width=width)
    return _delta_rule(g, gated_delta(dim, by_channel=True), x, alpha, g.sigmoid(beta), dim=dim, group=1)


def _delta_rule(g: Layers, kernel: Kernel, x: Value, decay: Value, beta: Value, *, dim: int, group: int) -> Value:
    heads = beta.width
    out = g.graph.value(heads * dim)
    g.graph.add(
        kernel,
        **g.states.arguments(g.states.add_layer(heads * dim * dim)),
        x=x,
        decay=decay,
        beta=beta,
        out=out,
        heads=heads,
        key_heads=(x.width // dim - heads) // 2,
        group=group,
        dim=dim,
    )
    return out
