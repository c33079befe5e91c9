"""Low-rank changes of matrices (LoRA): y = W x + B (A x), with W left where and as it is.

Hu et al. 2021, arXiv 2106.09685. Beside products of integers A is Q8_0, which reads the same input as W, and B is int8
with a scale for every 32 rows of a rank; A is scaled, and B by the inverse, so that A keeps its precision. Beside
others both are float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError
from ..ops.low_rank_add import low_rank_add, tiled
from ..quant.blocks.parts import float_activations
from ..quant.format import BY_NAME, Format
from ..quant.formats import load_named
from ..quant.kernels.matmul import SCRATCH_BYTES, matmul
from ..quant.tensor import QTensor
from ..runtime.graph import Graph, Value
from ..text import shown

SIZE = 1 / 16  # largest number of a row of A: its blocks of Q8_0 have scales that float16 holds
MERGE = "merge it into the model's weights: llmlocal convert SRC OUT --lora ADAPTER"
Floats = NDArray[np.float32]


class Recorder(Protocol):
    """What changes ask of `Layers`."""

    graph: Graph

    def table_rows(self, table: QTensor) -> Value: ...
    def q8(self, x: Value) -> Value: ...
    def overwritten(self, x: Value) -> Value: ...
    def multiplied(self, fmt: type[Format]) -> None: ...
    def keep(self, memory: NDArray[Any]) -> int: ...


@dataclass(slots=True)
class Change:
    """What is added to a matrix (rows, k): b (rows, rank) @ a (rank, k), both float32. `where` names the adapter.

    `applied`: the rows for which it has been recorded. The factors are dropped when they have been packed.
    """

    where: str
    b: Floats
    a: Floats
    applied: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.applied = np.zeros(len(self.b), np.bool_)


class FactorSize(NamedTuple):
    """The bytes of a change's factors, which are in no matrix of a file."""

    nbytes: int
    shape: tuple[int, ...] = ()


class _Share(NamedTuple):
    """A change of y (tokens, rows): ranks first .. first + rank - 1 of t (tokens, ranks) times b (rows, rank)."""

    y: Value
    t: Value
    first: int
    rank: int
    b: Floats
    floats: bool  # B stays float32


class LowRank:
    """The changes of a model's matrices by tensor name. Without any, it records nothing."""

    def __init__(self, changes: Mapping[str, Change], tensors: Mapping[str, QTensor]) -> None:
        """`tensors` of the model, of which the changed ones have the shapes of their changes."""
        self._changes, self._tensors = dict(changes), tensors
        self._packed: dict[str, tuple[Floats, Floats]] = {}
        digest = blake2b(digest_size=16)
        for name, change in sorted(changes.items()):
            digest.update(f"{name}{change.b.shape}{change.a.shape}".encode())
            digest.update(np.ascontiguousarray(change.b).data)
            digest.update(np.ascontiguousarray(change.a).data)
        self.digest = digest.hexdigest() if changes else ""

    def sizes(self) -> dict[str, FactorSize]:
        """What the factors take before they are packed, by names that no tensor of the model has."""
        return {f"{name}.lora": FactorSize(x.a.nbytes + x.b.nbytes) for name, x in self._changes.items()}

    def changes_any(self, weights: Sequence[QTensor]) -> bool:
        """Whether one of `weights` is changed."""
        return any(weight.name in self._changes for weight in weights)

    def add(self, layers: Recorder, x: Value, weights: Sequence[QTensor], outs: Sequence[Value]) -> None:
        """Add B A x for the changes of `weights` to `outs`, what they gave for x (tokens, k).

        The products A x, one for each format of A, are of the stage of the operations before, which has no barrier yet.
        """
        changed = [(i, w) for i, w in enumerate(weights) if w.name in self._changes]
        formats = dict.fromkeys(_format_beside(w.format) for _, w in changed)
        shares: list[_Share] = []
        for n, fmt in enumerate(formats, 1):
            same = [(i, w) for i, w in changed if _format_beside(w.format) is fmt]
            factors = {w.name: self._factors(w) for _, w in same}  # parts of one tensor have one A
            starts = accumulate((len(a) for a, _ in factors.values()), initial=0)
            first = dict(zip(factors, starts, strict=False))
            rows = np.concatenate([a for a, _ in factors.values()])
            t = _product(layers, x, fmt, rows, barrier=n == len(formats))
            shares += [
                _Share(outs[i], t, first[w.name], len(factors[w.name][0]), self._columns(w), fmt is _format("F32"))
                for i, w in same
            ]
        for n, share in enumerate(shares, 1):
            _add(layers, share, barrier=n == len(shares))

    def embedded(self, layers: Recorder, table: QTensor, x: Value) -> Value:
        """Add the change of a token embedding to its rows x (tokens, width): the only one of this table.

        So the change is not one of an output matrix that is the same tensor: as PEFT computes it.
        """
        change = self._changes.pop(table.name, None)
        if change is None:
            return x
        own = np.ascontiguousarray(change.b)
        layers.keep(own)
        rows = QTensor(table.name, _format("F32"), own.shape, own.reshape(-1).view(np.uint8).data)
        _add(layers, _Share(x, layers.table_rows(rows), 0, rows.k, change.a.T, floats=True))
        return layers.overwritten(x)

    def finish(self) -> None:
        """Drop the factors, which are packed. Raises BadFileError where a change, or a part of it, was not recorded."""
        for name, change in self._changes.items():
            if not change.applied.all():
                what = f"changes {shown(name)}, which is not multiplied as a matrix of a linear layer"
                raise BadFileError(f"{change.where}: {what}: that is not supported", MERGE)
        self._changes, self._packed = {}, {}

    def _factors(self, weight: QTensor) -> tuple[Floats, Floats]:
        if weight.name not in self._packed:
            self._packed[weight.name] = _packed(self._changes[weight.name], scaled=not float_activations(weight.format))
        return self._packed[weight.name]

    def _columns(self, weight: QTensor) -> Floats:
        """B (rows, rank) for the rows of `weight`, which may be a part of the file's tensor."""
        first = (weight.address - self._tensors[weight.name].address) // weight.format.row_bytes(weight.k)
        rows = slice(first, first + weight.rows)
        self._changes[weight.name].applied[rows] = True
        return self._factors(weight)[1][rows]


def _packed(change: Change, *, scaled: bool) -> tuple[Floats, Floats]:
    """A (rank, k) and B (rows, rank); `scaled`: the largest number of every rank of A is SIZE, B has the rest."""
    if not scaled:
        return change.a, change.b
    largest = np.abs(change.a).max(axis=1, initial=0).astype(np.float64)
    factors = np.where(largest > 0, largest / SIZE, 1.0)
    return (change.a / factors[:, None]).astype(np.float32), (change.b * factors).astype(np.float32)


def _format_beside(fmt: type[Format]) -> type[Format]:
    """The format of A, for a product with the same input as that of a matrix in `fmt`."""
    return _format("F32" if float_activations(fmt) else "Q8_0")


def _format(name: str) -> type[Format]:
    load_named(name)
    return BY_NAME[name]


def _product(layers: Recorder, x: Value, fmt: type[Format], a: Floats, *, barrier: bool) -> Value:
    g, (rank, k) = layers.graph, a.shape
    source = x if float_activations(fmt) else layers.q8(x)
    t = g.value(rank, outputs=x.outputs)
    layers.multiplied(fmt)
    g.add(
        matmul(fmt),
        barrier=barrier,
        tokens=g.rows_of(x),
        weights=layers.keep(np.ascontiguousarray(fmt.quantize(a))),
        x=source,
        y=t,
        rows=rank,
        k=k,
        row_bytes=fmt.row_bytes(k),
        y_stride=rank,
        scratch=g.scratch(SCRATCH_BYTES),
    )
    return t


def _add(layers: Recorder, share: _Share, *, barrier: bool = True) -> None:
    layers.graph.add(
        low_rank_add(floats=share.floats),
        barrier=barrier,
        tokens=layers.graph.rows_of(share.y),
        t=share.t,
        t_row=share.t.width,
        first=share.first,
        rank=share.rank,
        b=layers.keep(tiled(share.b, floats=share.floats)),
        y=share.y,
        rows=share.y.width,
    )
