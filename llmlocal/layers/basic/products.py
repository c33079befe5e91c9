"""Products with weights, and rows of tables by number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ...ops.elementwise import add_bias
from ...quant.blocks.parts import float_activations
from ...quant.jit.cpu import target
from ...quant.jit.kernel import Kernel
from ...quant.kernels.float16.matmul_float16 import has_float16_batches, matmul_float16
from ...quant.kernels.get_rows import get_rows
from ...quant.kernels.groups.group_records import GroupRecords, group_records
from ...quant.kernels.interleave import MOST_LANES, can_interleave
from ...quant.kernels.matmul import SCRATCH_BYTES, matmul
from ...quant.kernels.matmul_int16 import matmul_int16
from ...quant.tensor import QTensor
from ...runtime.graph import Operand, Part, Value
from .graph_layers import GraphLayers


class Products(GraphLayers):
    """Linear layers, embeddings and logits."""

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

    def linear(self, x: Value, weight: QTensor, bias: QTensor | None = None) -> Value:
        """x @ weight.T + bias for a weight (rows, width) -> (tokens, rows)."""
        return self.linears(x, (weight, bias))[0]

    def linears(self, x: Value, *weights: tuple[QTensor, QTensor | None]) -> list[Value]:
        """Several linear layers of the same input, without barriers between them."""
        g = self.graph
        originals = [weight for weight, _ in weights]
        if g.observer:
            g.observer.before_matmul(g, x, originals)
        outs = [g.value(weight.rows, outputs=x.outputs) for weight in originals]
        products = [
            (out, weight, first, *self._product(x, weight, bias))
            for out, (whole, bias) in zip(outs, weights, strict=True)
            for weight, first in self._placed(whole)
        ]
        biased = {out for out, *_, operands in products if "bias" in operands}
        alone = not self.low_rank.changes_any(originals)
        for i, (out, weight, first, kernel, operands) in enumerate(products):
            g.add(
                kernel,
                barrier=alone and i == len(products) - 1,
                tokens=g.rows_of(x),
                y=Part(out, 4 * first),
                rows=weight.rows,
                k=weight.k,
                y_stride=out.width,
                **operands,
            )
        self.low_rank.add(self, x, originals, outs)
        for (_, bias), out in zip(weights, outs, strict=True):
            if bias is not None and out not in biased:
                g.add(add_bias, tokens=g.rows_of(x), x=out, out=out, bias=bias.address, width=out.width)
        return outs

    def _placed(self, weight: QTensor) -> list[tuple[QTensor, int]]:
        """Where a matrix is multiplied, each part with its first row: rows that can be interleaved, and those left."""
        whole = weight.rows - weight.rows % MOST_LANES
        if 0 < whole < weight.rows and can_interleave(weight.format, whole) and self.int16 is None:
            tiles = self.place(weight.part(0, whole))
            if tiles.interleaved:
                return [(tiles, 0), (self.place(weight.part(whole, weight.rows)), whole)]
        return [(self.place(weight), 0)]

    def _product(self, x: Value, weight: QTensor, bias: QTensor | None) -> tuple[Kernel, dict[str, Operand]]:
        """The kernel that multiplies x with `weight`, and the operands by which kernels differ; one may add `bias`."""
        groups = self._groups(x, weight)
        self.multiplied(weight.format, interleaved=weight.interleaved, groups=groups is not None)
        if self.int16 and (tiles := self.int16.place(weight)):
            return matmul_int16, {"x": self.q16(x), "weights": tiles, "bias": bias.address if bias is not None else 0}
        row_bytes, scratch = weight.format.row_bytes(weight.k), self.graph.scratch(SCRATCH_BYTES)
        own: dict[str, Operand] = {"weights": weight.address, "row_bytes": row_bytes, "scratch": scratch}
        if self.int16 is None and has_float16_batches(weight.format, weight.rows, weight.k, target().isa):
            return matmul_float16(weight.format), {"x": x, "records": self.n16(x)} | own
        return matmul(weight.format, interleaved=weight.interleaved, groups=groups), {
            "x": self._records(x, weight, groups)
        } | own

    def _records(self, x: Value, weight: QTensor, groups: GroupRecords | None) -> Value:
        """What `matmul` reads of x."""
        if groups:
            return self.q8_or_groups(x, groups)
        return x if float_activations(weight.format) else self.q8(x)

    def _groups(self, x: Value, weight: QTensor) -> GroupRecords | None:
        """What many tokens are multiplied from, if not Q8 records. Of logits, a run needs few.

        The vector of a text shall not depend on what else is in its batch.
        """
        if x.outputs or self.int16 is not None:
            return None
        return group_records(weight.format, weight.rows, target().isa)

    def logits(self, x: Value, weight: QTensor, bias: QTensor | None = None) -> Value:
        """Logits (outputs, vocab) of the last states x (outputs, width) by the output matrix (vocab, width)."""
        return self.linear(x, weight, bias)
