"""The words that architectures are written in. Each records the kernels of one step; none computes anything now.

Values are (tokens, width) float32; heads lie side by side in the width. Knows no architecture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..ops import attention as attend
from ..ops.activations import geglu, gelu, swiglu, swiglu_clamped
from ..ops.elementwise import add, add_bias, scale, scale_rows, softcap
from ..ops.gather_rows import select
from ..ops.kv.store import kv_store
from ..ops.layer_norm import layer_norm
from ..ops.rms_norm import rms_norm
from ..ops.rope import rope_halves, rope_interleaved, rope_table
from ..ops.softmax import NO_SINK
from ..quant.blocks.parts import float_activations
from ..quant.jit.kernel import Kernel
from ..quant.kernels.get_rows import get_rows
from ..quant.kernels.matmul import SCRATCH_BYTES, matmul
from ..quant.tensor import QTensor
from ..runtime.graph import Graph, Value, aligned
from ..runtime.kv_cache import KVCache
from .rope_scaling import Rotation

ALL_KEYS = 1 << 62  # a window that no context fills


@dataclass(slots=True)
class Rope:
    """A rotation, how it pairs values, and its table of the step, (ubatch, 2, turned)."""

    rotation: Rotation
    interleaved: bool
    table: NDArray[np.float32]

    def fill(self, positions: NDArray[np.int64]) -> None:
        """Compute the table of a step from positions (tokens,)."""
        r = self.rotation
        self.table[: len(positions)] = rope_table(positions, r.frequencies, r.scale, self.interleaved)


@dataclass(slots=True)
class Temper:
    """A factor for every token of the step, (ubatch,), that grows with its position."""

    sharper: float
    every: int
    table: NDArray[np.float32]

    def fill(self, positions: NDArray[np.int64]) -> None:
        """Compute the factors of a step from positions (tokens,)."""
        self.table[: len(positions)] = 1 + self.sharper * np.log1p(positions // self.every)


class Layers:
    """The vocabulary, bound to a recorder and a cache."""

    def __init__(self, graph: Graph, cache: KVCache) -> None:
        self.graph, self.cache = graph, cache
        self.tables: list[Rope | Temper] = []  # to be filled before a step runs
        self._kept: list[NDArray[np.float32]] = []

    def embed(self, table: QTensor) -> Value:
        """The rows of `table` (vocabulary, width) of the step's tokens."""
        return self._rows(table, self.graph.step.ids)

    def embed_positions(self, table: QTensor) -> Value:
        """The rows of `table` (positions, width) of the step's positions. Raises UsageError for a longer context."""
        if self.cache.n_ctx > table.rows:
            message = f"this model knows {table.rows} positions, not a context of {self.cache.n_ctx}"
            raise UsageError(message, f"use --ctx {table.rows} or less")
        return self._rows(table, self.graph.step.positions)

    def _rows(self, table: QTensor, ids: NDArray[np.int64]) -> Value:
        g, out = self.graph, self.graph.value(table.k)
        g.add(
            get_rows(table.format),
            tokens=g.step.tokens,
            ids=ids.ctypes.data,
            weights=table.address,
            out=out,
            k=table.k,
            row_bytes=table.format.row_bytes(table.k),
        )
        return out

    def norm(self, x: Value, weight: QTensor, eps: float) -> Value:
        """RMS norm of every row of `weight`'s size: of whole tokens, or of each head."""
        g, out = self.graph, self.graph.value(x.width, outputs=x.outputs)
        per_token = x.width // weight.k
        g.add(
            rms_norm,
            tokens=g.rows_of(x),
            x=x,
            weight=weight.address,
            out=out,
            width=weight.k,
            per_token=per_token,
            eps=float(eps),
        )
        return out

    def layer_norm(self, x: Value, weight: QTensor, bias: QTensor | None, eps: float) -> Value:
        """Layer norm of whole tokens for a weight (width,); of each head for one (heads, head_dim)."""
        g, out = self.graph, self.graph.value(x.width, outputs=x.outputs)
        g.add(
            layer_norm,
            tokens=g.rows_of(x),
            x=x,
            weight=weight.address,
            out=out,
            width=weight.k,
            per_token=weight.rows,
            eps=float(eps),
        )
        if bias is not None:
            g.add(add_bias, tokens=g.rows_of(x), x=out, bias=bias.address, width=x.width)
        return out

    def linear(self, x: Value, weight: QTensor, bias: QTensor | None = None) -> Value:
        """x @ weight.T + bias for a weight (rows, width)."""
        return self.linears(x, (weight, bias))[0]

    def linears(self, x: Value, *weights: tuple[QTensor, QTensor | None]) -> list[Value]:
        """Several products of the same input; threads go from one to the next without meeting."""
        g = self.graph
        if g.watcher:
            g.watcher.product(g, x, [weight for weight, _ in weights])
        inputs = [x if float_activations(weight.format) else g.q8(x) for weight, _ in weights]
        outs = [g.value(weight.rows, outputs=x.outputs) for weight, _ in weights]
        for i, ((weight, _), source, out) in enumerate(zip(weights, inputs, outs, strict=True)):
            g.add(
                matmul(weight.format),
                meet=i == len(outs) - 1,
                tokens=g.rows_of(x),
                weights=weight.address,
                x=source,
                y=out,
                rows=weight.rows,
                k=weight.k,
                row_bytes=weight.format.row_bytes(weight.k),
                y_stride=weight.rows,
                scratch=g.scratch(SCRATCH_BYTES),
            )
        for (weight, bias), out in zip(weights, outs, strict=True):
            if bias is not None:
                g.add(add_bias, tokens=g.rows_of(x), x=out, bias=bias.address, width=weight.rows)
        return outs

    def rope(self, rotation: Rotation, *, interleaved: bool) -> Rope:
        """A rotation shared by layers: `turn` uses it."""
        shape = (self.graph.step.ubatch, 2, 2 * len(rotation.frequencies))
        rope = Rope(rotation, interleaved, aligned(4 * math.prod(shape)).view(np.float32).reshape(shape))
        self.tables.append(rope)
        return rope

    def temper(self, x: Value, sharper: float, every: int) -> None:
        """Multiply each token by 1 + sharper * ln(1 + position // every), in place (Llama 4's queries)."""
        factors = aligned(4 * self.graph.step.ubatch).view(np.float32)
        self.tables.append(Temper(sharper, every, factors))
        self.graph.add(scale_rows, tokens=self.graph.rows_of(x), x=x, factors=factors.ctypes.data, width=x.width)

    def turn(self, rope: Rope, *xs: Value, head_dim: int) -> None:
        """Rotate queries and keys in place."""
        g, kernel = self.graph, rope_interleaved if rope.interleaved else rope_halves
        for i, x in enumerate(xs):
            g.add(
                kernel,
                meet=i == len(xs) - 1,
                tokens=g.step.tokens,
                x=x,
                table=rope.table.ctypes.data,
                heads=x.width // head_dim,
                head_dim=head_dim,
                turned=rope.table.shape[2],
            )

    def attention(
        self,
        q: Value,
        k: Value,
        v: Value,
        *,
        head_dim: int,
        scale: float,
        window: int | None = None,
        softcap: float = 0.0,
        sinks: QTensor | None = None,
    ) -> Value:
        """Causal attention of q (tokens, heads * head_dim) over the cache, to which k and v are added first.

        Values may have another length than keys: the result is (tokens, heads * value_dim). A token sees the last
        `window` keys, its own among them. `softcap` bounds the scores by a tanh; `sinks` (heads,) float32 are scores
        that take weight without a value.
        """
        g, step, heads, kv_heads = self.graph, self.graph.step, q.width // head_dim, k.width // head_dim
        value_dim = v.width // kv_heads
        layer, out = self.cache.add_layer(kv_heads, head_dim, value_dim), g.value(heads * value_dim)
        stored = layer.operands()
        g.add(kv_store(layer.kind), tokens=step.tokens, cells_of=step.cells.ctypes.data, k=k, v=v, **stored)
        scratch_bytes = attend.scratch_bytes(layer.kind, heads, kv_heads, head_dim, value_dim)
        work: dict[str, Any] = {
            "tokens": step.tokens,
            "positions": step.positions.ctypes.data,
            "sinks": sinks.address if sinks else self._no_sinks(heads),
            "out": out,
            "heads": heads,
            "window": window or ALL_KEYS,
            "scratch": g.scratch(scratch_bytes),
            "scratch_bytes": scratch_bytes,
            "partials": Value(0, attend.partial_bytes(heads, value_dim, self.cache.n_ctx)),
            "pieces": attend.pieces(self.cache.n_ctx),
        }
        g.add(
            attend.attention(layer.kind, softcap),
            q=g.q8(q) if layer.kind.as_bytes else q,
            bases=step.bases.ctypes.data,
            scale=float(scale),
            **stored,
            **work,
        )
        g.add(attend.attention_merge, kv_heads=kv_heads, value_dim=value_dim, **work)
        return out

    def _no_sinks(self, heads: int) -> int:
        """Address of scores (heads,) that take no weight."""
        self._kept.append(np.full(heads, NO_SINK, np.float32))
        return int(self._kept[-1].ctypes.data)

    def swiglu(self, gate: Value, up: Value) -> Value:
        """silu(gate) * up, in the place of `gate`."""
        return self._gate(swiglu, gate, up)

    def swiglu_clamped(self, gate: Value, up: Value) -> Value:
        """gate * sigmoid(1.702 gate) * (up + 1), both limited to 7, in the place of `gate`."""
        return self._gate(swiglu_clamped, gate, up)

    def geglu(self, gate: Value, up: Value) -> Value:
        """gelu(gate) * up, in the place of `gate`."""
        return self._gate(geglu, gate, up)

    def _gate(self, kernel: Kernel, gate: Value, up: Value) -> Value:
        self.graph.add(kernel, tokens=self.graph.rows_of(gate), gate=gate, up=up, out=gate, width=gate.width)
        return self.graph.changed(gate)

    def gelu(self, x: Value) -> Value:
        """gelu(x), in the place of `x`."""
        self.graph.add(gelu, tokens=self.graph.rows_of(x), x=x, out=x, width=x.width)
        return self.graph.changed(x)

    def add(self, x: Value, y: Value) -> Value:
        """x + y, in the place of `x`."""
        self.graph.add(add, tokens=self.graph.rows_of(x), x=x, y=y, out=x, width=x.width)
        return self.graph.changed(x)

    def scale(self, x: Value, factor: float) -> Value:
        """x * factor, in the place of `x`; nothing is done for a factor of 1."""
        if factor != 1:
            self.graph.add(scale, tokens=self.graph.rows_of(x), x=x, width=x.width, factor=float(factor))
        return self.graph.changed(x)

    def softcap(self, x: Value, cap: float) -> Value:
        """cap * tanh(x / cap), in the place of `x`; a cap of 0 is none."""
        if cap:
            self.graph.add(softcap, tokens=self.graph.rows_of(x), x=x, width=x.width, cap=float(cap))
        return self.graph.changed(x)

    def outputs(self, x: Value) -> Value:
        """The rows of the tokens whose logits are wanted."""
        g, out = self.graph, self.graph.value(x.width, outputs=True)
        rows = g.step.output_rows.ctypes.data
        g.add(select, outputs=g.step.outputs, rows=rows, x=x, out=out, width=x.width)
        return out
