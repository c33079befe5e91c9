"""`llmlocal bench`: how fast a model processes prompts and generates text on this machine."""

from __future__ import annotations

from .. import choices
from ..options.engine import KvType, WeightsMode
from ..options.measurements import BenchTests, BenchThreads, EarlierResults, Output
from ..options.models import Models
from ..options.report import Quiet
from ..ui import terminal
from ..ui.tables import show_charts
from ..views.bench import bench_charts, bench_table, change_lines, collect, page_lines, proposal_lines


def bench(
    models: Models,
    *,
    tests: BenchTests,
    threads: BenchThreads = None,
    kv_type: KvType = choices.Cache.f16,
    weights: WeightsMode = choices.Weights.auto,
    earlier: EarlierResults,
    output: Output = choices.Layout.md,
    quiet: Quiet = False,
) -> None:
    """Benchmark prompt processing and text generation.

    The tests are those of llama-bench: pp is prompt processing, tg is text generation. GB/s counts the weights read
    per second of generation; "of memory" compares it with the memory bandwidth of all threads, measured on at most
    1 GiB. Lists have commas, or the option is repeated. For several models or thread counts a terminal also shows
    bars.

    \b
    Examples: llmlocal bench model.gguf -p 512 -n 128 -t 1,2,4
              llmlocal bench model.gguf -o json > before.json
              llmlocal bench model.gguf --baseline before.json --fail-below 5%
    """
    from ...errors import ThresholdError, UsageError
    from ...measure import baseline
    from ...measure.bench import BenchPlan, BenchResult, bench, pairs_of, thread_counts, token_counts

    if earlier.fail_below is not None and earlier.baseline is None:
        raise UsageError("--fail-below needs something to compare with", "add --baseline FILE")
    limit = baseline.percentage(earlier.fail_below) if earlier.fail_below is not None else None
    before = baseline.read(earlier.baseline) if earlier.baseline is not None else None
    given = (("-p", tests.prompt), ("-n", tests.gen), ("-d", tests.depth))
    prompts, gens, depths = (token_counts(*texts) for texts in given)
    pairs = pairs_of(tests.prompt_gen)
    plan = BenchPlan(prompts, gens, pairs, depths, tests.repeats, kv_type, weights, tests.roofline, tests.answer)
    rows: list[BenchResult] = []
    with terminal.Screen(quiet=quiet) as screen:
        counts = thread_counts(threads)
        total = plan.rows * len(models) * len(counts)
        measured = collect(bench(models, plan, counts), rows, total, screen.status)
        screen.lines(bench_table(measured, output, peak=tests.roofline))
        screen.notes(page_lines(rows))
        screen.notes(proposal_lines(rows))
        screen.notes(row.limit for row in rows if row.limit)
        if output is choices.Layout.md:
            show_charts(bench_charts(rows))
        if before is not None:
            changes = baseline.changes(rows, before)
            screen.notes(change_lines(changes))
            if limit is not None and (lost := baseline.slower(changes, limit)):
                raise ThresholdError(
                    f"{len(lost)} of {len(changes)} tests are more than {limit:g} % slower than the baseline"
                )
