"""Columns of values, the tokens whose logits are computed, and means over the tokens of a text."""

from __future__ import annotations

from ...ops.gather_rows import gather_rows
from ...ops.mean_rows import mean_rows
from ...ops.take_columns import take_columns
from ...runtime.graph import Value
from .graph_layers import GraphLayers


class Selection(GraphLayers):
    """Parts of values, as new values."""

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
