"""`llmlocal bench`: how fast a model processes prompts and generates text on this machine."""

from __future__ import annotations

from .. import choices
from ..options.common import KvType, Quiet, WeightsMode
from ..options.measurements import (
    Baseline,
    BenchAnswer,
    BenchPrompt,
    BenchThreads,
    Depth,
    FailBelow,
    Output,
    PromptAndAnswer,
    Repeats,
    Roofline,
)
from ..options.models import Models
from ..ui import terminal
from ..ui.tables import show_charts
from ..views.bench import bench_charts, bench_table, change_lines, collect, page_lines


def bench(
    models: Models,
    prompt: BenchPrompt = ["512"],  # noqa: B006  not changed, and the parser's default
    gen: BenchAnswer = ["128"],  # noqa: B006
    prompt_gen: PromptAndAnswer = None,
    depth: Depth = ["0"],  # noqa: B006
    threads: BenchThreads = None,
    kv_type: KvType = choices.Cache.f16,
    weights: WeightsMode = choices.Weights.auto,
    repeats: Repeats = 5,
    roofline: Roofline = False,
    baseline: Baseline = None,
    fail_below: FailBelow = None,
    output: Output = choices.Layout.md,
    quiet: Quiet = False,
) -> None:
    """Benchmark prompt processing and text generation.

    The tests are those of llama-bench: pp is prompt processing, tg is text generation. GB/s counts the weights read
    per second of generation; "of memory" compares it with the memory bandwidth of all threads, measured on 1 GiB.
    Lists have commas, or the option is repeated. For several models or thread counts a terminal also shows bars.

    \b
    Examples: llmlocal bench model.gguf -p 512 -n 128 -t 1,2,4
              llmlocal bench model.gguf -o json > before.json
              llmlocal bench model.gguf --baseline before.json --fail-below 5%
    """
    from ...errors import ThresholdError, UsageError
    from ...measure import baseline as earlier
    from ...measure.bench import BenchPlan, BenchResult, bench, pairs_of, thread_counts, token_counts

    if fail_below is not None and baseline is None:
        raise UsageError("--fail-below needs something to compare with", "add --baseline FILE")
    limit = earlier.percentage(fail_below) if fail_below is not None else None
    before = earlier.read(baseline) if baseline is not None else None
    prompts, gens, depths = (token_counts(*given) for given in (("-p", prompt), ("-n", gen), ("-d", depth)))
    plan = BenchPlan(prompts, gens, pairs_of(prompt_gen), depths, repeats, kv_type, weights, roofline)
    rows: list[BenchResult] = []
    with terminal.Screen(quiet=quiet) as screen:
        measured = collect(bench(models, plan, thread_counts(threads)), rows)
        screen.lines(bench_table(measured, output, peak=roofline))
        screen.notes(page_lines(rows))
        screen.notes(row.limit for row in rows if row.limit)
        if output is choices.Layout.md:
            show_charts(bench_charts(rows))
        if before is not None:
            changes = earlier.changes(rows, before)
            screen.notes(change_lines(changes))
            if limit is not None and (lost := earlier.slower(changes, limit)):
                raise ThresholdError(
                    f"{len(lost)} of {len(changes)} tests are more than {limit:g} % slower than the baseline"
                )
