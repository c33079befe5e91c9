"""Activations, gates and arithmetic of single numbers, most of them in place."""

from __future__ import annotations

from ...ops.activations import (
    geglu,
    gelu,
    relu,
    relu_squared,
    sigmoid,
    sigmoid_gate,
    softplus,
    swiglu,
    swiglu_clamped,
    tanh,
)
from ...ops.elementwise import add, add_bias, lerp, limit, multiply, scale, softcap
from ...ops.gelu_erf import geglu_erf, gelu_erf
from ...quant.jit.kernel import Kernel
from ...quant.tensor import QTensor
from ...runtime.graph import Value
from .graph_layers import GraphLayers


class Elementwise(GraphLayers):
    """Functions of each number."""

    def swiglu(self, gate: Value, up: Value) -> Value:
        """silu(gate) * up, in place of `gate`."""
        return self._gated(swiglu, gate, up)

    def swiglu_clamped(self, gate: Value, up: Value) -> Value:
        """gate * sigmoid(1.702 gate) * (up + 1) with gate and up limited to 7, in place of `gate`."""
        return self._gated(swiglu_clamped, gate, up)

    def swiglu_limited(self, gate: Value, up: Value, most: float) -> Value:
        """silu(gate), at most `most`, times `up` limited to -most..most; SwiGLU itself for a limit of 0.

        Both are overwritten. A limit is above 0.28, so that none of SiLU's negative values is cut.
        """
        if not most:
            return self.swiglu(gate, up)
        silu = self.sigmoid_gate(gate, gate)
        return self.multiply(self.limited(silu, most), self.limited(up, most))

    def geglu(self, gate: Value, up: Value) -> Value:
        """gelu(gate) * up, in place of `gate`."""
        return self._gated(geglu, gate, up)

    def geglu_erf(self, gate: Value, up: Value) -> Value:
        """gelu_erf(gate) * up, in place of `gate`."""
        return self._gated(geglu_erf, gate, up)

    def sigmoid_gate(self, gate: Value, up: Value) -> Value:
        """sigmoid(gate) * up, in place of `gate`."""
        return self._gated(sigmoid_gate, gate, up)

    def _gated(self, kernel: Kernel, gate: Value, up: Value) -> Value:
        self.graph.add(kernel, tokens=self.graph.rows_of(gate), gate=gate, up=up, out=gate, width=gate.width)
        return self.overwritten(gate)

    def gelu(self, x: Value) -> Value:
        """GELU by its tanh approximation, in place."""
        return self._activated(gelu, x)

    def gelu_erf(self, x: Value) -> Value:
        """GELU itself, x / 2 (1 + erf(x / sqrt 2)), in place."""
        return self._activated(gelu_erf, x)

    def relu(self, x: Value) -> Value:
        """max(x, 0), in place."""
        return self._activated(relu, x)

    def relu_squared(self, x: Value) -> Value:
        """max(x, 0)^2, in place."""
        return self._activated(relu_squared, x)

    def tanh(self, x: Value) -> Value:
        """tanh(x), in place."""
        return self._activated(tanh, x)

    def sigmoid(self, x: Value) -> Value:
        """1 / (1 + e^-x), in place."""
        return self._activated(sigmoid, x)

    def softplus(self, x: Value) -> Value:
        """ln(1 + e^x), in place."""
        return self._activated(softplus, x)

    def _activated(self, kernel: Kernel, x: Value) -> Value:
        self.graph.add(kernel, tokens=self.graph.rows_of(x), x=x, out=x, width=x.width)
        return self.overwritten(x)

    def add(self, x: Value, y: Value) -> Value:
        """x + y, in place."""
        self.graph.add(add, tokens=self.graph.rows_of(x), x=x, y=y, out=x, width=x.width)
        return self.overwritten(x)

    def multiply(self, x: Value, y: Value) -> Value:
        """x * y, in place of `x`."""
        self.graph.add(multiply, tokens=self.graph.rows_of(x), x=x, y=y, out=x, width=x.width)
        return self.overwritten(x)

    def lerp(self, x: Value, y: Value, shares: QTensor | Value) -> Value:
        """x + (y - x) * shares, for x and y (tokens, width) and shares (width,), or of each token -> a new value."""
        g, out = self.graph, self.graph.value(x.width)
        factors, row = (shares, 4 * x.width) if isinstance(shares, Value) else (shares.address, 0)
        g.add(lerp, tokens=g.rows_of(x), x=x, y=y, out=out, factors=factors, factors_row=row, width=x.width)
        return out

    def scale(self, x: Value, factor: float) -> Value:
        """x * factor, in place; records nothing for a factor of 1."""
        if factor != 1:
            self.graph.add(scale, tokens=self.graph.rows_of(x), x=x, width=x.width, factor=float(factor))
        return self.overwritten(x)

    def softcap(self, x: Value, cap: float) -> Value:
        """cap * tanh(x / cap), in place; records nothing for a cap of 0."""
        if cap:
            self.graph.add(softcap, tokens=self.graph.rows_of(x), x=x, width=x.width, cap=float(cap))
        return self.overwritten(x)

    def limited(self, x: Value, most: float) -> Value:
        """x limited to -most..most, in place; records nothing for a limit of 0, which is none."""
        if most:
            self.graph.add(limit, tokens=self.graph.rows_of(x), x=x, width=x.width, most=float(most))
        return self.overwritten(x)

    def plus_bias(self, x: Value, bias: QTensor) -> Value:
        """x + bias, of as many numbers as x has columns, as a new value."""
        out = self.graph.value(x.width, outputs=x.outputs)
        self.graph.add(add_bias, tokens=self.graph.rows_of(x), x=x, out=out, bias=bias.address, width=x.width)
        return out
