"""RMS norms and layer norms, of whole tokens or of each head."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.elementwise import add_bias
from ...ops.layer_norm import layer_norm
from ...ops.rms_norm import grouped_rms_norm, rms_norm
from ...quant.jit.kernel import Kernel
from ...quant.tensor import QTensor
from ...runtime.graph import Value
from .graph_layers import GraphLayers


class Norms(GraphLayers):
    """Norms, each of which makes a new value."""

    def norm(self, x: Value, weight: QTensor, eps: float) -> Value:
        """RMS norm over rows of the size of `weight`: (width,) for whole tokens, (head_dim,) for each head."""
        return self._norm(rms_norm, x, weight.address, weight.k, x.width // weight.k, eps)

    def unit_norm(self, x: Value, width: int, eps: float) -> Value:
        """RMS norm without a weight over rows of `width` values: whole tokens, or each head."""
        return self._norm(rms_norm, x, self._weight_of_ones(width), width, x.width // width, eps)

    def unit_layer_norm(self, x: Value, eps: float) -> Value:
        """Layer norm of whole tokens without weight and bias."""
        return self._norm(layer_norm, x, self._weight_of_ones(x.width), x.width, 1, eps)

    def grouped_norm(self, x: Value, weight: QTensor, eps: float) -> Value:
        """RMS norm of each of several parts of a token, for a weight (parts, width)."""
        return self._norm(grouped_rms_norm, x, weight.address, weight.k, weight.rows, eps)

    def layer_norm(self, x: Value, weight: QTensor, bias: QTensor | None, eps: float) -> Value:
        """Layer norm: of whole tokens for a weight (width,), of each head for a weight (heads, head_dim)."""
        g, out = self.graph, self._norm(layer_norm, x, weight.address, weight.k, weight.rows, eps)
        if bias is not None:
            g.add(add_bias, tokens=g.rows_of(x), x=out, out=out, bias=bias.address, width=x.width)
        return out

    def _norm(self, kernel: Kernel, x: Value, weight: int, width: int, per_token: int, eps: float) -> Value:
        g, out = self.graph, self.graph.value(x.width, outputs=x.outputs)
        rows: dict[str, Any] = {"weight": weight, "width": width, "per_token": per_token, "eps": float(eps)}
        g.add(kernel, tokens=g.rows_of(x), x=x, out=out, **rows)
        return out

    def _weight_of_ones(self, width: int) -> int:
        return int(self._ones.setdefault(width, np.ones(width, np.float32)).ctypes.data)
