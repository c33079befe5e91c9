"""Benchmark results as Markdown, JSON, CSV and charts. Draws nothing itself."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..choices import Layout
from ..ui.tables import Chart

if TYPE_CHECKING:
    from ...measure.baseline import SpeedChange
    from ...measure.bench import BenchResult

BENCH = (("model", 32), ("threads", 7), ("test", 14), ("tokens/s", 18), ("GB/s", 6), ("of memory", 9))
PEAK = (("GMAC/s", 6), ("of peak", 7))  # with --roofline


def bench_table(rows: Iterable[BenchResult], layout: Layout, *, peak: bool = False) -> Iterator[str]:
    """The text of a benchmark, line by line as its rows come; JSON in one piece at the end."""
    if layout is Layout.md:
        columns = BENCH + PEAK if peak else BENCH
        for i, row in enumerate(rows):
            if not i:  # not before it is known that there are rows
                yield _md([title.ljust(width) for title, width in columns])
                yield _md(["-" * width for _, width in columns])
            yield _md([cell.ljust(width) for cell, (_, width) in zip(_cells(row), columns, strict=False)])
    elif layout is Layout.csv:
        for i, row in enumerate(rows):
            record = _record(row)
            if not i:
                yield _csv([*record])
            yield _csv([*record.values()])
    elif layout is Layout.jsonl:
        for row in rows:
            yield json.dumps({"schema": 1, **_record(row)}, ensure_ascii=False)
    else:
        yield json.dumps({"schema": 1, "rows": [_record(row) for row in rows]}, indent=1, ensure_ascii=False)


def collect(
    rows: Iterable[BenchResult], into: list[BenchResult], total: int, tell: Callable[[str], object]
) -> Iterator[BenchResult]:
    """Pass rows on as they come, and append each to `into`; `tell` is told which of `total` tests begins."""
    tell(f"test 1 of {total}")
    for row in rows:
        into.append(row)
        yield row
        if len(into) < total:
            tell(f"test {len(into) + 1} of {total}")


def page_lines(rows: Iterable[BenchResult]) -> Iterator[str]:
    """Where the weights of each model lie, once."""
    seen = {row.model.stem: row.weights for row in rows}
    yield from (f"{name}: weights {weights}" for name, weights in seen.items())


def proposal_lines(rows: Iterable[BenchResult]) -> Iterator[str]:
    """What proposed tokens did for the answers."""
    for row in rows:
        if (report := row.speculation) is not None:
            done = f"{report.accepted} of {report.proposed} proposed tokens accepted, {report.gain:.2f} x as fast"
            yield f"{row.model.stem}, {row.name}, {row.n_threads} threads: {done}"


def bench_charts(rows: Sequence[BenchResult]) -> Iterator[Chart]:
    """A chart of each kind of test that was run more than once, prompts and answers apart."""
    kinds: dict[str, list[BenchResult]] = {}
    for row in rows:
        kinds.setdefault(row.name, []).append(row)
    for name, some in kinds.items():
        if len(some) > 1:
            yield Chart(f"{name}, tokens/s", [(_label(row), row.mean, f"{row.mean:.1f}") for row in some])


def change_lines(changes: Iterable[SpeedChange]) -> Iterator[str]:
    """Each test against the baseline."""
    for change in changes:
        row = change.row
        yield (
            f"{row.model.stem}, {row.name}, {row.n_threads} threads: {change.before:.2f} -> {row.mean:.2f} tokens/s "
            f"({change.ratio - 1:+.1%})"
        )


def _label(row: BenchResult) -> str:
    return f"{row.model.stem}, {row.n_threads} threads" + (f", {row.kv_type}" if row.kv_type != "f16" else "")


def _cells(row: BenchResult) -> list[str]:
    cells = [row.model.stem, str(row.n_threads), row.name, f"{row.mean:.2f} ± {row.sd:.2f}"]
    for rate, share, digits in (
        (row.weight_rate, row.bandwidth_share, 2),
        (row.multiply_rate, row.multiply_share, 0),
    ):
        cells += [f"{rate / 1e9:.{digits}f}" if rate is not None else "", f"{share:.0%}" if share is not None else ""]
    return cells


def _record(row: BenchResult) -> dict[str, object]:
    return {
        "model": row.model.stem,
        "test": row.name,
        "threads": row.n_threads,
        "kv_type": row.kv_type,
        "tokens_per_second": row.mean,
        "sd": row.sd,
        "samples": list(row.samples),
        "weight_bytes_per_second": row.weight_rate,
        "bandwidth_share": row.bandwidth_share,
        "multiply_adds_per_second": row.multiply_rate,
        "multiply_share": row.multiply_share,
        "limit": row.limit,
        "weights": row.weights,
        "proposed": row.speculation.proposed if row.speculation else None,
        "accepted": row.speculation.accepted if row.speculation else None,
        "gain": row.speculation.gain if row.speculation else None,
    }


def _md(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _csv(values: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([" ".join(map(str, v)) if isinstance(v, list) else v for v in values])
    return out.getvalue()
