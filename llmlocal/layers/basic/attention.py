"""Attention over the KV cache, and what positions do to queries, keys and scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ops import attention as attention_ops
from ...ops import text_attention
from ...ops.alibi import alibi_slopes
from ...ops.elementwise import scale_rows
from ...ops.kv.store import kv_store
from ...ops.rope import rope_interleaved, rope_neox
from ...ops.softmax import NO_SINK
from ...quant.jit.kernel import Kernel
from ...quant.tensor import QTensor
from ...runtime.buffers import aligned
from ...runtime.graph import Value
from ...runtime.kv_cache import LayerCache
from ..key_range import KeyRange
from ..rope import PositionScale, Rope
from ..rope_scaling import RopeParameters
from ..score_bias import DistanceBias, ScoreBias, distances
from .graph_layers import GraphLayers, Linear, Source


class Attention(GraphLayers):
    """Attention, rotary embeddings and biases of scores."""

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
        plain = window is None and not softcap and sinks is None and bias is None and not self.causal
        if plain and text_attention.takes(self.cache.n_ctx, head_dim, v.width * head_dim // k.width):
            return self._text_attention(q, k, v, head_dim, scale)
        stored = self.keys_values(k, v, head_dim=head_dim, window=window)
        return self.attend(q, stored, scale=scale, softcap=softcap, sinks=sinks, bias=bias)

    def _text_attention(self, q: Value, k: Value, v: Value, head_dim: int, scale: float) -> Value:
        """As `attention`, of texts that nothing else needs keys and values of: they go to no cache."""
        g, out, most = self.graph, self.graph.value(q.width), self.cache.n_ctx
        nbytes = text_attention.scratch_bytes(most, head_dim)
        g.add(
            text_attention.text_attention,
            tokens=g.batch.tokens,
            last_positions=g.batch.last_positions.ctypes.data,
            q=q,
            k=k,
            v=v,
            out=out,
            heads=q.width // head_dim,
            kv_heads=k.width // head_dim,
            head_dim=head_dim,
            scale=float(scale),
            scratch=g.scratch(nbytes),
            scratch_bytes=nbytes,
            most=most,
        )
        return out

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
        prefixes: dict[str, Any] = {
            "prefix_starts": batch.prefix_starts.ctypes.data,
            "prefix_lengths": (layer.ring or batch).prefix_lengths.ctypes.data,
        }
        g.add(kernel, q=source, sequence_starts=starts, ring=ring, scale=float(scale), **prefixes, **stored, **shared)
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

    def _sinks_of(self, heads: int) -> int:
        """Address of sinks (heads,) float32 without any weight."""
        return int(self._no_sinks.setdefault(heads, np.full(heads, NO_SINK, np.float32)).ctypes.data)


def _operands(bias: ScoreBias | None, softcap: float = 0.0) -> dict[str, Any]:
    """Fields of the attention kernels for what is done to scores."""
    if bias is None:
        return {"softcap": float(softcap), "biases": 0, "bias_starts": 0, "bias_stride": 0}
    return {"softcap": float(softcap), "biases": bias.values, "bias_starts": bias.starts, "bias_stride": bias.stride}
