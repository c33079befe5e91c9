"""Mamba-2 layers, with weights under GGUF's tensor names. Dao and Gu 2024, arXiv 2405.21060."""

from __future__ import annotations

from dataclasses import dataclass

from ...ops.ssd_scan import SCRATCH_BYTES, scan_gates, ssd_scan
from ...runtime.graph import Value
from .. import Layers
from ..hyperparameters import Hyperparameters
from ..metadata import Config
from ..weights import Weights
from . import silu_short_conv


@dataclass(frozen=True, slots=True)
class Mamba2:
    """Sizes of a Mamba-2 layer: heads of `dim`, groups that share B and C of `size`, inputs of the convolution."""

    heads: int
    dim: int
    groups: int
    size: int
    conv: int

    @property
    def inner(self) -> int:
        """Width of all heads."""
        return self.heads * self.dim

    @property
    def channels(self) -> int:
        """Channels of the convolution: the heads, B and C."""
        return self.inner + 2 * self.groups * self.size

    @classmethod
    def read(cls, c: Config, groups: int = 0) -> Mamba2:
        """Read and check metadata; `groups`, where it is not 0, is their number in place of the file's.

        Raises BadFileError for missing, wrong or unsupported values.
        """
        inner, heads = c.integer("ssm.inner_size", 1, 1 << 24), c.integer("ssm.time_step_rank", 1, 1 << 12)
        groups, size = groups or c.integer("ssm.group_count", 1, heads), c.integer("ssm.state_size", 1, 1 << 12)
        if heads % groups or inner % heads:
            raise c.fail(f"{heads} heads of a Mamba layer do not divide into {groups} groups, or its width {inner}")
        if inner // heads % 8 or size % 8:
            raise c.fail(f"heads of {inner // heads} with states of {size}: only multiples of 8 are supported")
        return cls(heads, inner // heads, groups, size, c.integer("ssm.conv_kernel", 2, 16))


def mamba2(g: Layers, h: Hyperparameters, m: Mamba2, w: Weights, x: Value, *, normed: bool = True) -> Value:
    """Mamba-2 of x (tokens, width): projection, short convolution, scan, gate, norm by groups, projection back.

    Without the norm unless `normed`.
    """
    whole = g.linear(x, *w.linear("ssm_in", m.inner + m.channels + m.heads, h.width))
    conv, bias = w.vector("ssm_conv1d.weight", m.channels, m.conv), w.maybe_vector("ssm_conv1d.bias", m.channels)
    mixed = silu_short_conv(g, whole, conv, bias, first=m.inner)
    gate = g.columns(whole, first=0, width=m.inner)
    step = g.columns(whole, first=m.inner + m.channels, width=m.heads)
    out = g.swiglu(gate, scan(g, m, w, mixed, step, (m.heads, 1)))
    if normed:
        out = g.grouped_norm(out, w.vector("ssm_norm.weight", m.groups, m.inner // m.groups), h.eps)
    return g.linear(out, *w.linear("ssm_out", h.width, m.inner))


def scan(g: Layers, m: Mamba2, w: Weights, x: Value, step: Value, by_head: tuple[int, ...]) -> Value:
    """The scan of heads, B and C in x (tokens, channels) with the steps (tokens, heads), which are overwritten.

    `by_head` is the shape of the file's tensors with a number for each head.
    """
    decay, out = g.graph.value(m.heads), g.graph.value(m.inner)
    rate, skip = (w.vector(name, *by_head).address for name in ("ssm_a", "ssm_d"))
    bias, tokens = w.vector("ssm_dt.bias", m.heads).address, g.graph.batch.tokens
    g.graph.add(scan_gates, tokens=tokens, step=step, decay=decay, rate=rate, bias=bias, heads=m.heads)
    g.graph.add(
        ssd_scan(m.dim),
        **g.states.arguments(g.states.add_layer(m.inner * m.size)),
        x=x,
        decay=decay,
        step=step,
        skip=skip,
        out=out,
        heads=m.heads,
        groups=m.groups,
        dim=m.dim,
        size=m.size,
        scratch=g.graph.scratch(SCRATCH_BYTES),
    )
    return out
