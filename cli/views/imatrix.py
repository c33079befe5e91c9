"""Importance matrices in words and as records. Draws nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ui.terminal import one_line

if TYPE_CHECKING:
    from ...imatrix.collect import CollectProgress
    from ...imatrix.file import Imatrix

NAME = 30  # columns of a table that a name may take


def result_lines(step: CollectProgress, out: Path) -> Iterator[str]:
    """The file, and what went into it."""
    matrix, new = step.matrix, step.done - step.before
    yield one_line(str(out))
    went = f"{matrix.chunks} chunks of {matrix.chunk_size} tokens" + (f", {new} of them new" if step.before else "")
    yield f"{len(matrix.sums)} weights; {went}"
    if unused := matrix.unused():
        most = max(unused.values())
        yield f"up to {most} experts of a weight read nothing: their columns count alike; a longer text may reach them"


def result_record(matrix: Imatrix, out: Path) -> dict[str, Any]:
    return {
        "path": str(out),
        "chunk_size": matrix.chunk_size,
        "chunks": matrix.chunks,
        "texts": [asdict(text) for text in matrix.texts],
        "weights": len(matrix.sums),
        "unused_experts": matrix.unused(),
    }


def stats_lines(matrix: Imatrix) -> Iterator[str]:
    """A table of what each weight reads, the largest first."""
    from ...imatrix.statistics import statistics

    yield f"{'weight':<{NAME}}  {'squares':>9}  {'largest':>9}  {'even':>5}  {'outliers':>8}  {'like':>5}"
    for s in statistics(matrix):
        like = f"{s.likeness:.3f}" if s.likeness is not None else "-"
        figures = f"{s.total:>9.4g}  {s.largest:>9.4g}  {s.evenness:>5.3f}  {s.outliers:>8.1%}  {like:>5}"
        yield f"{one_line(s.name.removesuffix('.weight')):<{NAME}}  {figures}"
    yield "squares: sum of the columns' mean squares; even: entropy, 1 where all columns"
    yield "count alike; outliers: columns beyond one standard deviation; like: cosine to"
    yield "the block before"


def stats_record(matrix: Imatrix) -> dict[str, Any]:
    from ...imatrix.statistics import statistics

    return {"stats": [asdict(s) for s in statistics(matrix)]}
