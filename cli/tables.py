"""Results as text in a chosen layout. Knows the results; draws nothing itself."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Layout

if TYPE_CHECKING:
    from ..bench import Row

BENCH = (("model", 32), ("threads", 7), ("test", 14), ("tokens/s", 18), ("GB/s", 6), ("of memory", 9))


def bench_table(model: Path, rows: Iterable[Row], layout: Layout) -> Iterator[str]:
    """The text of a benchmark, line by line as its rows come; JSON in one piece at the end."""
    if layout is Layout.md:
        for i, row in enumerate(rows):
            if not i:  # not before it is known that there are rows
                yield _md([title.ljust(width) for title, width in BENCH])
                yield _md(["-" * width for _, width in BENCH])
            yield _md([cell.ljust(width) for cell, (_, width) in zip(_cells(model, row), BENCH, strict=True)])
    elif layout is Layout.csv:
        for i, row in enumerate(rows):
            record = _record(row)
            if not i:
                yield _csv(["model", *record])
            yield _csv([model.stem, *record.values()])
    else:
        yield json.dumps({"schema": 1, "model": str(model), "rows": [_record(row) for row in rows]}, indent=1)


def _cells(model: Path, row: Row) -> list[str]:
    rate = f"{row.weight_rate / 1e9:.2f}" if row.weight_rate is not None else ""
    share = f"{row.bandwidth_share:.0%}" if row.bandwidth_share is not None else ""
    return [model.stem, str(row.n_threads), row.name, f"{row.mean:.2f} ± {row.sd:.2f}", rate, share]


def _record(row: Row) -> dict[str, object]:
    return {
        "test": row.name,
        "threads": row.n_threads,
        "tokens_per_second": row.mean,
        "sd": row.sd,
        "samples": list(row.samples),
        "weight_bytes_per_second": row.weight_rate,
        "bandwidth_share": row.bandwidth_share,
    }


def _md(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _csv(values: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([" ".join(map(str, v)) if isinstance(v, list) else v for v in values])
    return out.getvalue()
