"""What all layers share: the graph they record into, the caches, Q8 records, and memory that kernels read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...quant.format import Format
from ...quant.jit.cpu import target
from ...quant.kernels.float16.n16_activations import n16_bytes, quantize_n16
from ...quant.kernels.groups.group_records import GroupRecords, quantize_by_tokens
from ...quant.kernels.matmul import ANY_NUMBER, same_bits
from ...quant.kernels.q8_activations import q8_bytes, quantize_q8
from ...quant.kernels.q16_activations import q16_bytes, quantize_q16
from ...quant.simd.few_tokens import FEW_TOKENS
from ...quant.tensor import QTensor
from ...runtime.graph import Graph, Value
from ...runtime.int16_copy import Int16Copy
from ...runtime.kv_cache import KVCache, LayerCache
from ...runtime.state_cache import StateCache
from ..expert_matrices import ExpertMatrices
from ..low_rank import LowRank

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


class GraphLayers:
    """Layers recorded into `graph`, with keys and values in `cache` and recurrent states in `states`.

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
        self.predicts = False  # whether a block shall predict further tokens (MTP) from what is then in `made`
        self.made: Value | None = None  # (tokens, width): what the model made of its tokens
        self.last_keys: dict[int | None, LayerCache] = {}  # of the last layer with this window, for an assistant
        self._no_sinks: dict[int, NDArray[np.float32]] = {}  # for each number of heads
        self._constants: list[NDArray[Any]] = []
        self._ones: dict[int, NDArray[np.float32]] = {}  # by their number
        self.int16: Int16Copy | None = None  # of weights that products read in place of the file's, with Q16 records
        self._q8: dict[Value, Value] = {}
        self._q16: dict[Value, Value] = {}
        self._n16: dict[Value, Value] = {}
        self._group_records: dict[Value, dict[str, Value]] = {}  # by the records' name

    def constant(self, values: NDArray[Any]) -> int:
        """Address of a copy of `values` as float32: weights in another layout than the file's, for kernels to read."""
        return self.keep(np.ascontiguousarray(values, np.float32).copy())

    def keep(self, memory: NDArray[Any]) -> int:
        """Address of `memory`, contiguous, which is kept as long as the layers."""
        self._constants.append(memory)
        return int(memory.ctypes.data)

    def multiplied(self, fmt: type[Format], *, interleaved: bool = False, groups: bool = False) -> None:
        """A product with weights in `fmt` was recorded: it limits `same_bits`."""
        most = same_bits(target().isa, fmt, interleaved=interleaved, groups=groups)
        self.same_bits = min(self.same_bits, most)

    def q8(self, x: Value, per_token: int = 1) -> Value:
        """`x` as Q8 records, quantized once for all products that read it; `per_token` rows for each token."""
        if x not in self._q8:
            g, rows, k = self.graph, x.nbytes // (4 * x.width) * per_token, x.width // per_token
            out = Value(x.width, rows * q8_bytes(k), x.outputs)
            tokens = g.batch.tokens_times(per_token) if per_token > 1 else g.rows_of(x)
            g.add(quantize_q8, tokens=tokens, x=x, out=out, k=k)
            self._q8[x] = out
        return self._q8[x]

    def q8_or_groups(self, x: Value, groups: GroupRecords) -> Value:
        """`x` (tokens, width) as the records that `matmul` with `groups` reads, made once for all that read them."""
        made = self._group_records.setdefault(x, {})
        if groups.name not in made:
            g, rows, row_bytes = self.graph, x.nbytes // (4 * x.width), max(q8_bytes(x.width), groups.nbytes(x.width))
            made[groups.name] = Value(x.width, rows * row_bytes, x.outputs)
            g.add(quantize_by_tokens(groups), tokens=g.rows_of(x), x=x, out=made[groups.name], k=x.width)
        return made[groups.name]

    def q16(self, x: Value) -> Value:
        """`x` (tokens, width) as Q16 records, quantized once for all products that read it."""
        if x not in self._q16:
            g, rows = self.graph, x.nbytes // (4 * x.width)
            out = Value(x.width, rows * q16_bytes(x.width), x.outputs)
            g.add(quantize_q16, tokens=g.rows_of(x), x=x, out=out, k=x.width)
            self._q16[x] = out
        return self._q16[x]

    def n16(self, x: Value) -> Value:
        """`x` (tokens, width) as N16 records, for batches of products with weights of 16-bit floats."""
        if x not in self._n16:
            g, rows = self.graph, x.nbytes // (4 * x.width)
            out = Value(x.width, rows * n16_bytes(x.width), x.outputs)
            least = FEW_TOKENS[target().isa].floats + 1
            g.add(quantize_n16, tokens=g.rows_of(x), x=x, out=out, k=x.width, least=least)
            self._n16[x] = out
        return self._n16[x]

    def overwritten(self, x: Value) -> Value:
        """`x`, after a kernel wrote over it: records made of it before are dropped."""
        self._q8.pop(x, None)
        self._q16.pop(x, None)
        self._n16.pop(x, None)
        self._group_records.pop(x, None)
        return x
