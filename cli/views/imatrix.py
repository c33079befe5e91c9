"""Importance matrices as lines and as records. Draws nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ui.tables import Table
from ..ui.terminal import one_line

if TYPE_CHECKING:
    from ...imatrix.collect import CollectProgress
    from ...imatrix.file import Imatrix


def result_lines(step: CollectProgress, out: Path) -> Iterator[str]:
    """The file, and what went into it."""
    matrix, new = step.matrix, step.done - step.before
    yield one_line(str(out))
    went = f"{matrix.chunks} chunks of {matrix.chunk_size} tokens" + (f", {new} of them new" if step.before else "")
    yield f"{len(matrix.sums)} tensors; {went}"
    if unused := matrix.unused():
        most = max(unused.values())
        yield f"up to {most} experts of a tensor were never used: their columns count equally; use a longer text"


def result_record(matrix: Imatrix, out: Path) -> dict[str, Any]:
    return {
        "path": str(out),
        "chunk_size": matrix.chunk_size,
        "chunks": matrix.chunks,
        "texts": [asdict(text) for text in matrix.texts],
        "weights": len(matrix.sums),
        "unused_experts": matrix.unused(),
    }


LEGEND = (
    "sum x², max x²: sum and maximum of the columns' mean squared activations;",
    "H/max: relative entropy, 1 if all columns count equally; outliers: columns more",
    "than one deviation off; cos: cosine similarity to this tensor a block before",
)


def stats_table(matrix: Imatrix) -> Table:
    """The activations that each tensor reads, the largest first; LEGEND says what the columns are."""
    from ...imatrix.statistics import statistics

    rows = [
        (
            s.name.removesuffix(".weight"),
            f"{s.total:.4g}",
            f"{s.largest:.4g}",
            f"{s.evenness:.3f}",
            f"{s.outliers:.1%}",
            f"{s.likeness:.3f}" if s.likeness is not None else "-",
        )
        for s in statistics(matrix)
    ]
    return Table(("tensor", "sum x²", "max x²", "H/max", "outliers", "cos"), rows, right=range(1, 6))


def stats_record(matrix: Imatrix) -> dict[str, Any]:
    from ...imatrix.statistics import statistics

    return {"stats": [asdict(s) for s in statistics(matrix)]}
