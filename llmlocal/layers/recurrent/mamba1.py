"""Layers of the first Mamba, with weights under GGUF's tensor names. Gu and Dao 2023, arXiv 2312.00752."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...ops.selective_scan import selective_scan
from ...runtime.graph import Value
from .. import Layers
from ..hyperparameters import Hyperparameters
from ..metadata import Config
from ..weights import Weights
from . import silu_short_conv

StepNorm = Callable[[str, Value], Value]  # of the name dt, b or c, and its values


@dataclass(frozen=True, slots=True)
class Mamba1:
    """Sizes of a layer: channels, numbers in the state of each, width of the steps' projection, inputs of the
    convolution."""

    inner: int
    size: int
    rank: int
    conv: int

    @classmethod
    def read(cls, c: Config) -> Mamba1:
        """Read and check metadata. Raises BadFileError for missing, wrong or unsupported values."""
        inner, size = c.integer("ssm.inner_size", 1, 1 << 24), c.integer("ssm.state_size", 1, 1 << 12)
        if inner % 8:
            raise c.fail(f"a Mamba layer has {inner} channels: only multiples of 8 are supported")
        return cls(inner, size, c.integer("ssm.time_step_rank", 1, 1 << 16), c.integer("ssm.conv_kernel", 2, 16))


def mamba1(g: Layers, h: Hyperparameters, m: Mamba1, w: Weights, x: Value, normed: StepNorm) -> Value:
    """Mamba of x (tokens, width): projection, short convolution, scan, gate, projection back.

    `normed` is applied to the steps before their projection (dt), and to what is written (b) and read (c).
    """
    whole = g.linear(x, *w.linear("ssm_in", 2 * m.inner, h.width))
    conv, bias = w.vector("ssm_conv1d.weight", m.inner, m.conv), w.maybe_vector("ssm_conv1d.bias", m.inner)
    mixed = silu_short_conv(g, whole, conv, bias)
    chosen = g.linear(mixed, w.matrix("ssm_x.weight", m.rank + 2 * m.size, m.inner))
    dt = normed("dt", g.columns(chosen, first=0, width=m.rank))
    b = normed("b", g.columns(chosen, first=m.rank, width=m.size))
    c = normed("c", g.columns(chosen, first=m.rank + m.size, width=m.size))
    step = g.linear(dt, w.matrix("ssm_dt.weight", m.inner, m.rank), w.vector("ssm_dt.bias", m.inner))
    gate, out = g.columns(whole, first=m.inner, width=m.inner), g.graph.value(m.inner)
    g.graph.add(
        selective_scan,
        **g.states.arguments(g.states.add_layer(m.inner * m.size)),
        x=mixed,
        step=step,
        b=b,
        c=c,
        rate=g.constant(w.vector("ssm_a", m.inner, m.size).dequantize().reshape(m.inner, m.size).T),
        skip=w.vector("ssm_d", m.inner).address,
        out=out,
        channels=m.inner,
        size=m.size,
    )
    return g.linear(g.swiglu(gate, out), *w.linear("ssm_out", h.width, m.inner))
