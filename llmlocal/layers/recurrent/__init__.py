"""Layers with a recurrent state, whose size does not depend on how many tokens were read."""

from __future__ import annotations

import numpy as np

from ...ops.gated_delta import delta_gates, gated_delta
from ...ops.short_conv import gated_conv, silu_conv
from ...quant.jit.kernel import Kernel
from ...quant.tensor import QTensor
from ...runtime.graph import Value
from .. import Layers


def gated_short_conv(g: Layers, x: Value, weight: QTensor) -> Value:
    """LFM2's convolution of x (tokens, 3 * channels): input gate, output gate and input -> (tokens, channels).

    `weight` (channels, size) float32, the last column for the newest input.
    """
    return _conv(g, gated_conv(weight.k), x, 0, weight, None)


def silu_short_conv(g: Layers, x: Value, weight: QTensor, bias: QTensor | None = None, *, first: int = 0) -> Value:
    """SiLU of the convolution of columns from `first` on of x (tokens, width) -> (tokens, channels).

    `weight` (channels, size) float32, the last column for the newest input; `bias` (channels,).
    """
    return _conv(g, silu_conv(weight.k), x, first, weight, bias)


def _conv(g: Layers, kernel: Kernel, x: Value, first: int, weight: QTensor, bias: QTensor | None) -> Value:
    channels, size = weight.shape
    out, taps = g.graph.value(channels), weight.dequantize().reshape(channels, size)
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
    out = g.graph.value(heads * dim)
    g.graph.add(
        delta_gates,
        tokens=g.graph.batch.tokens,
        alpha=alpha,
        beta=beta,
        rate=rate.address,
        bias=bias.address,
        heads=heads,
    )
    g.graph.add(
        gated_delta(dim),
        **g.states.arguments(g.states.add_layer(heads * dim * dim)),
        x=x,
        decay=alpha,
        beta=beta,
        out=out,
        heads=heads,
        key_heads=(x.width // dim - heads) // 2,
        group=group,
        dim=dim,
    )
    return out
