"""The layers that architectures are written in, and how they read a file's weights and hyperparameters.

A layer records kernels into a graph; nothing is computed before the program runs. Values are (tokens, width) float32,
and heads lie side by side in the width. The room does not depend on any architecture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..ops import attention as attention_ops
from ..ops.activations import (
    geglu,
    geglu_erf,
    gelu,
    gelu_erf,
    relu,
    relu_squared,
    sigmoid,
    sigmoid_gate,
    swiglu,
    swiglu_clamped,
    tanh,
)
from ..ops.alibi import alibi_slopes
from ..ops.elementwise import add, add_bias, lerp, limit, multiply, scale, scale_rows, softcap
from ..ops.gather_rows import gather_rows
from ..ops.kv.store import kv_store
from ..ops.layer_norm import layer_norm
from ..ops.mean_rows import mean_rows
from ..ops.rms_norm import grouped_rms_norm, rms_norm
from ..ops.rope import rope_interleaved, rope_neox
from ..ops.softmax import NO_SINK
from ..ops.take_columns import take_columns
from ..quant.blocks.parts import float_activations
from ..quant.format import Format
from ..quant.jit.cpu import target
from ..quant.jit.kernel import Kernel
from ..quant.kernels.get_rows import get_rows
from ..quant.kernels.matmul import ANY_NUMBER, SCRATCH_BYTES, matmul, same_bits
from ..quant.kernels.q8_activations import q8_bytes, quantize_q8
from ..quant.tensor import QTensor
from ..runtime.buffers import aligned
from ..runtime.graph import Graph, Value
from ..runtime.kv_cache import KVCache, LayerCache
from ..runtime.state_cache import StateCache
from .expert_matrices import ExpertMatrices
from .key_range import KeyRange
from .low_rank import LowRank
from .rope import PositionScale, Rope
from .rope_scaling import RopeParameters
from .score_bias import DistanceBias, ScoreBias, distances

Linear = tuple[QTensor, QTensor | None]  # weight (rows, k), bias (rows,)


class Table(Protocol):
    """What is computed for a batch before each run."""

    def fill(self, positions: NDArray[np.int64]) -> None:
        """Compute it from positions (tokens,)."""


class Source(NamedTuple):
    """A layer of the cache for keys and values of a text that an encoder reads, and what makes them of its states."""

    cache: LayerCache
    keys: Linear
    values: Linear


class Layers:
    """The layers, recorded into `graph`, with keys and values in `cache` and recurrent states in `states`.

    `tables` must be filled with the positions of a batch before the program runs. `causal`: a token attends to itself
    and to those before it; an encoder sets it to False.
    """

    def __init__(
        self,
        graph: Graph,
        cache: KVCache,
        place: Callable[[QTensor], QTensor] = lambda weight: weight,
        states: StateCache | None = None,
        low_rank: LowRank | None = None,
        prefetch_bytes: int = 0,
    ) -> None:
        """`place` gives the tensor that a linear layer reads: the values of the file's, perhaps in another layout.

        `low_rank` are changes that linear layers and the token embedding add. `prefetch_bytes` of chosen experts, at
        most, are asked for before they are multiplied: for files larger than memory.
        """
        self.graph, self.cache, self.place = graph, cache, place
        self.low_rank, self.prefetch_bytes = low_rank or LowRank({}, {}), prefetch_bytes
        self.causal = True
        self.states = states or StateCache(cache.n_seqs, graph.batch.ubatch)
        self.tables: list[Table] = []
        self.sources: list[Source] = []  # of cross attention, to be filled by a `SourceEncoder`
        self.expert_matrices: list[ExpertMatrices] = []  # their addresses are read when the program runs
        self.same_bits = ANY_NUMBER  # the most tokens of a run whose products have the bits that each has alone
        self._no_sinks: dict[int, NDArray[np.float32]] = {}  # for each number of heads
        self._constants: list[NDArray[Any]] = []
        self._ones: dict[int, NDArray[np.float32]] = {}  # by their number
        self._q8: dict[Value, Value] = {}

    def embed(self, table: QTensor) -> Value:
        """Token embedding: rows of `table` (vocab, width) by token id -> (tokens, width)."""
        return self.low_rank.embedded(self, table, self.table_rows(table))

    def table_rows(self, table: QTensor) -> Value:
        """As `embed`, of the table alone, without a change of it."""
        return self._rows(table, self.graph.batch.ids, table.k)

    def embed_part(self, table: QTensor, first: int, last: int) -> Value:
        """As `embed`, values first .. last - 1 of each row, which are whole blocks of the table's format."""
        row_bytes = table.format.row_bytes
        return self._rows(table, self.graph.batch.ids, last - first, row_bytes(first))

    def embed_positions(self, table: QTensor) -> Value:
        """Learned position embedding: rows of `table` (positions, width) -> (tokens, width).

        Raises UsageError for a context longer than the table.
        """
        if self.cache.n_ctx > table.rows:
            message = f"the model has {table.rows} positions, too few for a context of {self.cache.n_ctx}"
            raise UsageError(message, f"use --ctx {table.rows} or less")
        return self._rows(table, self.graph.batch.positions, table.k)

    def embed_token_types(self, table: QTensor) -> Value:
        """Token type embedding: rows of `table` (types, width) by the part of a pair -> (tokens, width)."""
        return self._rows(table, self.graph.batch.token_types, table.k)

    def _rows(self, table: QTensor, ids: NDArray[np.int64], width: int, skipped_bytes: int = 0) -> Value:
        g, out = self.graph, self.graph.value(width)
        g.add(
            get_rows(table.format),
            tokens=g.batch.tokens,
            ids=ids.ctypes.data,
            weights=table.address + skipped_bytes,
            out=out,
            k=width,
            row_bytes=table.format.row_bytes(table.k),
        )
        return out

    def norm(self, x: Value, weight: QTensor, eps: float) -> Value:
        """RMS norm over rows of the size of `weight`: (width,) for whole tokens, (head_dim,) for each head."""
        return self._norm(rms_norm, x, weight.address, weight.k, x.width // weight.k, eps)

    def unit_norm(self, x: Value, width: int, eps: float) -> Value:
        """RMS norm without a weight over rows of `width` values: whole tokens, or each head."""
        return self._norm(rms_norm, x, self._weight_of_ones(width), width, x.width // width, eps)

    def unit_layer_norm(self, x: Value, eps: float) -> Value:
        """Layer norm of whole tokens without weight and bias."""
        return self._norm(layer_norm, x, self._weight_of_ones(x.width), x.width, 1, eps)

    def _weight_of_ones(self, width: int) -> int:
        return int(self._ones.setdefault(width, np.ones(width, np.float32)).ctypes.data)

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

    def linear(self, x: Value, weight: QTensor, bias: QTensor | None = None) -> Value:
        """x @ weight.T + bias for a weight (rows, width) -> (tokens, rows)."""
        return self.linears(x, (weight, bias))[0]

    def linears(self, x: Value, *weights: tuple[QTensor, QTensor | None]) -> list[Value]:
        """Several linear layers of the same input, without barriers between them."""
        g = self.graph
        if g.observer:
            g.observer.before_matmul(g, x, [weight for weight, _ in weights])
        originals = [weight for weight, _ in weights]
        alone = not self.low_rank.changes_any(originals)
        weights = tuple((self.place(weight), bias) for weight, bias in weights)
        inputs = [x if float_activations(weight.format) else self.q8(x) for weight, _ in weights]
        outs = [g.value(weight.rows, outputs=x.outputs) for weight, _ in weights]
        for i, ((weight, _), source, out) in enumerate(zip(weights, inputs, outs, strict=True)):
            self.multiplied(weight.format, interleaved=weight.interleaved)
            g.add(
                matmul(weight.format, interleaved=weight.interleaved),
                barrier=alone and i == len(outs) - 1,
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
        self.low_rank.add(self, x, originals, outs)
        for (weight, bias), out in zip(weights, outs, strict=True):
            if bias is not None:
                g.add(add_bias, tokens=g.rows_of(x), x=out, out=out, bias=bias.address, width=weight.rows)
        return outs

    def multiplied(self, fmt: type[Format], *, interleaved: bool = False) -> None:
        """A product with weights in `fmt` was recorded: it limits `same_bits`."""
        self.same_bits = min(self.same_bits, same_bits(target().isa, fmt, interleaved=interleaved))

    def rope(self, parameters: RopeParameters, *, interleaved: bool) -> Rope:
        """The rotary embedding that several layers share, for `apply_rope`.

        Interleaved: value 2 i of a head is paired with 2 i + 1; otherwise (NeoX) value i with i + rotary_dim / 2.
        """
        shape = (self.graph.batch.ubatch, 2, 2 * len(parameters.frequencies))
        rope = Rope(parameters, interleaved, aligned(4 * math.prod(shape)).view(np.float32).reshape(shape))
        self.tables.append(rope)
        return rope

    def position_scale(self, x: Value, scale: float, every: int, ahead: int = 0) -> None:
        """x times 1 + scale * ln(1 + (position + ahead) // every), in place (queries of Llama 4)."""
        factors = aligned(4 * self.graph.batch.ubatch).view(np.float32)
        self.tables.append(PositionScale(scale, every, ahead, factors))
        self.graph.add(scale_rows, tokens=self.graph.rows_of(x), x=x, factors=factors.ctypes.data, width=x.width)

    def apply_rope(self, rope: Rope, *xs: Value, head_dim: int) -> None:
        """Rotate queries and keys, each (tokens, heads * head_dim), in place."""
        g, kernel = self.graph, rope_interleaved if rope.interleaved else rope_neox
        for i, x in enumerate(xs):
            g.add(
                kernel,
                barrier=i == len(xs) - 1,
                tokens=g.batch.tokens,
                x=x,
                table=rope.table.ctypes.data,
                heads=x.width // head_dim,
                head_dim=head_dim,
                rotary_dim=rope.rotary_dim,
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
        bias: ScoreBias | None = None,
    ) -> Value:
        """Grouped-query attention over the cache, to which k and v are added -> (tokens, heads * value_dim).

        q (tokens, heads * head_dim), k (tokens, kv_heads * head_dim), v (tokens, kv_heads * value_dim). `scale`
        multiplies scores. A token attends to the last `window` keys, its own included, see `KeyRange`. Scores
        become softcap * tanh(score / softcap) unless `softcap` is 0. `sinks` (heads,) float32 are scores that take part
        in the softmax without a value. `bias` is added to scores, which are not capped then. Unless the layers are
        `causal`, a token attends to all tokens of its text, which lies in one batch. Raises UsageError for a head size
        that the cache type cannot hold.
        """
        stored = self.keys_values(k, v, head_dim=head_dim, window=window)
        return self.attend(q, stored, scale=scale, softcap=softcap, sinks=sinks, bias=bias)

    def distance_bias(self, biases: Callable[[NDArray[np.int64]], NDArray[np.float32]]) -> ScoreBias:
        """Biases of scores by the position of a key minus that of a query, for `attention` of several layers.

        `biases` gives (heads, n) for n distances.
        """
        table = DistanceBias(self.graph.batch, self.cache.n_ctx, biases(distances(self.cache.n_ctx)))
        self.tables.append(table)
        return table.operand

    def linear_bias(self, heads: int, steepest: float) -> ScoreBias:
        """Linear biases (ALiBi) with the slopes of `alibi_slopes`."""
        slopes = alibi_slopes(heads, steepest)[:, None]
        return self.distance_bias(lambda distances: -slopes * np.abs(distances).astype(np.float32))

    def cross_attention(self, q: Value, keys: Linear, values: Linear, *, head_dim: int, scale: float) -> Value:
        """Attention of q (tokens, heads * head_dim) to all tokens of the text that an encoder read for the sequence.

        `keys` and `values` are the linear layers that make them of the encoder's states, see `SourceEncoder`; the
        result is (tokens, heads * value_dim). Raises UsageError for a head size that the cache type cannot hold.
        """
        kv_heads = keys[0].rows // head_dim
        layer = self.cache.add_layer(kv_heads, head_dim, values[0].rows // kv_heads)
        self.sources.append(Source(layer, keys, values))
        kernel = attention_ops.attention(layer.kv_type)
        source, stored = self.q8(q) if layer.kv_type.q8_queries else q, layer.arguments() | _operands(None)
        first = self.keep(np.zeros(self.graph.batch.ubatch, np.int64))
        reach = first, int(self.graph.batch.last_sources.ctypes.data)
        return self._attend(kernel, layer, q, source, stored, reach, scale=scale)

    def keys_values(self, k: Value, v: Value, *, head_dim: int, window: int | None = None) -> LayerCache:
        """Add keys (tokens, kv_heads * head_dim) and values (tokens, kv_heads * value_dim) to a layer of the cache.

        What attends to it does so with this `window`. Raises UsageError for a head size that the cache type cannot
        hold.
        """
        kv_heads = k.width // head_dim
        layer = self.cache.add_layer(kv_heads, head_dim, v.width // kv_heads, window)
        return self.store(layer, k, v, layer.ring.token_cells if layer.ring else self.graph.batch.cells)

    def store(self, layer: LayerCache, k: Value, v: Value, cells: NDArray[np.int64]) -> LayerCache:
        """Write keys and values (tokens, ...) to `cells` (tokens,) of a layer, which is returned."""
        tokens, stored, addresses = self.graph.batch.tokens, layer.arguments(), cells.ctypes.data
        self.graph.add(kv_store(layer.kv_type), tokens=tokens, token_cells=addresses, k=k, v=v, **stored)
        return layer

    def attend(
        self,
        q: Value,
        layer: LayerCache,
        *,
        scale: float,
        softcap: float = 0.0,
        sinks: QTensor | None = None,
        bias: ScoreBias | None = None,
    ) -> Value:
        """As `attention`, over keys and values that are in the cache already: several layers may share them."""
        source, stored = self.q8(q) if layer.kv_type.q8_queries else q, layer.arguments() | _operands(bias, softcap)
        kernel, reach = attention_ops.attention(layer.kv_type), self._reach(layer.window)
        return self._attend(kernel, layer, q, source, stored, reach, scale=scale, sinks=sinks)

    def attend_latents(self, q: Value, layer: LayerCache, *, scale: float) -> Value:
        """Attention of q (tokens, heads * latent_dim) to latents in the cache -> (tokens, heads * value_dim).

        Latents are keys and, without their last numbers, values of all heads: see `KVCache.add_latent_layer`.
        """
        stored = layer.latent_arguments() | _operands(None)
        kernel, reach = attention_ops.latent_attention(layer.kv_type), self._reach(None)
        return self._attend(kernel, layer, q, q, stored, reach, scale=scale, latent=True)

    def latents(self, x: Value, *, value_dim: int) -> LayerCache:
        """Add latents (tokens, latent_dim), of which the first `value_dim` numbers are values, to a layer of the cache.

        Raises UsageError for a size that the cache type cannot hold.
        """
        return self.store(self.cache.add_latent_layer(x.width, value_dim), x, x, self.graph.batch.cells)

    def _attend(
        self,
        kernel: Kernel,
        layer: LayerCache,
        q: Value,
        source: Value,
        stored: dict[str, Any],
        reach: tuple[int, int],
        *,
        scale: float,
        sinks: QTensor | None = None,
        latent: bool = False,
    ) -> Value:
        """Attention of queries `q`, which the kernel reads as `source`, to what is `stored`.

        `reach`: addresses of the positions of the first and the last key of each query.
        """
        g, batch, heads, value_dim = self.graph, self.graph.batch, q.width // stored["head_dim"], stored["value_dim"]
        kv_heads, out = layer.kv_heads, g.value(heads * value_dim)
        sizes = (layer.kv_type, heads, kv_heads, stored["head_dim"], value_dim)
        scratch_bytes = attention_ops.scratch_bytes(*sizes, latent=latent)
        shared: dict[str, Any] = {
            "tokens": batch.tokens,
            "first_keys": reach[0],
            "last_keys": reach[1],
            "sinks": sinks.address if sinks else self._sinks_of(heads),
            "out": out,
            "heads": heads,
            "scratch": g.scratch(scratch_bytes),
            "scratch_bytes": scratch_bytes,
            "partials": Value(0, attention_ops.partials_bytes(heads, value_dim, self.cache.n_ctx)),
            "chunks": attention_ops.chunks(self.cache.n_ctx),
        }
        starts = (layer.ring.starts if layer.ring else batch.sequence_starts).ctypes.data
        ring = layer.ring.cells if layer.ring else attention_ops.NO_RING
        g.add(kernel, q=source, sequence_starts=starts, ring=ring, scale=float(scale), **stored, **shared)
        g.add(attention_ops.attention_merge, kv_heads=kv_heads, value_dim=value_dim, **shared)
        return out

    def _reach(self, window: int | None) -> tuple[int, int]:
        """Addresses of the first and the last key that each token attends to, the same for all layers with this window.

        Their table is filled before each run.
        """
        for table in self.tables:
            if isinstance(table, KeyRange) and (type(table.window), table.window, table.causal) == (
                type(window),
                window,
                self.causal,
            ):
                return int(table.first.ctypes.data), int(table.last.ctypes.data)
        self.tables.append(KeyRange(self.graph.batch, window, self.causal))
        return self._reach(window)

    def constant(self, values: NDArray[Any]) -> int:
        """Address of a copy of `values` as float32: weights in another layout than the file's, for kernels to read."""
        return self.keep(np.ascontiguousarray(values, np.float32).copy())

    def keep(self, memory: NDArray[Any]) -> int:
        """Address of `memory`, contiguous, which is kept as long as the layers."""
        self._constants.append(memory)
        return int(memory.ctypes.data)

    def _sinks_of(self, heads: int) -> int:
        """Address of sinks (heads,) float32 without any weight."""
        return int(self._no_sinks.setdefault(heads, np.full(heads, NO_SINK, np.float32)).ctypes.data)

    def swiglu(self, gate: Value, up: Value) -> Value:
        """silu(gate) * up, in place of `gate`."""
        return self._gated(swiglu, gate, up)

    def swiglu_clamped(self, gate: Value, up: Value) -> Value:
        """gate * sigmoid(1.702 gate) * (up + 1) with gate and up limited to 7, in place of `gate`."""
        return self._gated(swiglu_clamped, gate, up)

    def geglu(self, gate: Value, up: Value) -> Value:
        """gelu(gate) * up, in place of `gate`."""
        return self._gated(geglu, gate, up)

    def sigmoid_gate(self, gate: Value, up: Value) -> Value:
        """sigmoid(gate) * up, in place of `gate`."""
        return self._gated(sigmoid_gate, gate, up)

    def _gated(self, kernel: Kernel, gate: Value, up: Value) -> Value:
        self.graph.add(kernel, tokens=self.graph.rows_of(gate), gate=gate, up=up, out=gate, width=gate.width)
        return self.overwritten(gate)

    def geglu_erf(self, gate: Value, up: Value) -> Value:
        """gelu_erf(gate) * up, in place of `gate`."""
        return self._gated(geglu_erf, gate, up)

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

    def _activated(self, kernel: Kernel, x: Value) -> Value:
        self.graph.add(kernel, tokens=self.graph.rows_of(x), x=x, out=x, width=x.width)
        return self.overwritten(x)

    def add(self, x: Value, y: Value) -> Value:
        """x + y, in place."""
        self.graph.add(add, tokens=self.graph.rows_of(x), x=x, y=y, out=x, width=x.width)
        return self.overwritten(x)

    def plus_bias(self, x: Value, bias: QTensor) -> Value:
        """x + bias, of as many numbers as x has columns, as a new value."""
        out = self.columns(x, first=0, width=x.width)
        self.graph.add(add_bias, tokens=self.graph.rows_of(x), x=out, out=out, bias=bias.address, width=x.width)
        return out

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

    def columns(self, x: Value, *, first: int, width: int, groups: int = 1) -> Value:
        """Columns first .. first + width - 1 of each of `groups` parts of x (tokens, n) -> (tokens, groups * width)."""
        out = self.graph.value(groups * width)
        self.copy_columns(x, out, 0, first=first, width=width, groups=groups)
        return out

    def copy_columns(
        self, x: Value, out: Value, at: int, *, first: int, width: int, groups: int = 1, apart: int | None = None
    ) -> None:
        """As `columns`, into the columns of `out` from `at` on; parts begin `apart` columns, `width` by default, from
        each other."""
        self.graph.add(
            take_columns,
            tokens=self.graph.rows_of(x),
            x=x,
            out=out,
            groups=groups,
            width=width,
            x_group=x.width // groups,
            x_column=first,
            x_row=x.width,
            out_group=width if apart is None else apart,
            out_column=at,
            out_row=out.width,
        )

    def outputs(self, x: Value) -> Value:
        """The rows of x (tokens, width) of the tokens whose logits are computed -> (outputs, width)."""
        return self.gathered(x)

    def gathered(self, x: Value) -> Value:
        """The rows of x (tokens, width) that the batch names -> (outputs, width)."""
        g, out = self.graph, self.graph.value(x.width, outputs=True)
        rows = g.batch.output_rows.ctypes.data
        g.add(gather_rows, outputs=g.batch.outputs, rows=rows, x=x, out=out, width=x.width)
        return out

    def mean(self, x: Value) -> Value:
        """The mean of x (tokens, width) over the tokens of each text -> (outputs, width)."""
        g, out = self.graph, self.graph.value(x.width, outputs=True)
        starts = g.batch.text_starts.ctypes.data
        g.add(mean_rows, outputs=g.batch.outputs, starts=starts, x=x, out=out, width=x.width)
        return out

    def logits(self, x: Value, weight: QTensor, bias: QTensor | None = None) -> Value:
        """Logits (outputs, vocab) of the last states x (outputs, width) by the output matrix (vocab, width)."""
        return self.linear(x, weight, bias)

    def q8(self, x: Value, per_token: int = 1) -> Value:
        """`x` as Q8 records, quantized once for all products that read it; `per_token` rows for each token."""
        if x not in self._q8:
            g, rows, k = self.graph, x.nbytes // (4 * x.width) * per_token, x.width // per_token
            out = Value(x.width, rows * q8_bytes(k), x.outputs)
            tokens = g.batch.tokens_times(per_token) if per_token > 1 else g.rows_of(x)
            g.add(quantize_q8, tokens=tokens, x=x, out=out, k=k)
            self._q8[x] = out
        return self._q8[x]

    def overwritten(self, x: Value) -> Value:
        """`x`, after a kernel wrote over it: Q8 records made of it before are dropped."""
        self._q8.pop(x, None)
        return x


def _operands(bias: ScoreBias | None, softcap: float = 0.0) -> dict[str, Any]:
    """Fields of the attention kernels for what is done to scores."""
    if bias is None:
        return {"softcap": float(softcap), "biases": 0, "bias_starts": 0, "bias_stride": 0}
    return {"softcap": float(softcap), "biases": bias.values, "bias_starts": bias.starts, "bias_stride": bias.stride}
