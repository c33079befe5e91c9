"""`llmlocal bench`: how fast a model reads and answers on this machine."""

from __future__ import annotations

from .. import choices
from .. import options as o
from ..ui import terminal as ui
from ..views.bench import bench_bars, bench_table, change_lines, kept


def bench(
    models: o.Models,
    prompt: o.BenchPrompt = 512,
    gen: o.BenchAnswer = 128,
    prompt_gen: o.PromptAndAnswer = None,
    depth: o.Depth = 0,
    threads: o.BenchThreads = None,
    kv_type: o.KvType = choices.Cache.f16,
    repeats: o.Repeats = 5,
    roofline: o.Roofline = False,
    baseline: o.Baseline = None,
    fail_below: o.FailBelow = None,
    output: o.Output = choices.Layout.md,
    quiet: o.Quiet = False,
) -> None:
    """Measure speed as llama-bench does: pp reads a prompt, tg makes an answer.

    GB/s are the bytes of weights read while answering; the share is of what all threads read from memory at best,
    in a sum over 1 GiB, best of 5. Of several models or thread counts a terminal shows bars, too.

    \b
    Examples: llmlocal bench model.gguf -p 512 -n 128 -t 1,2,4
              llmlocal bench model.gguf -o json > before.json
              llmlocal bench model.gguf --baseline before.json --fail-below 5%
    """
    from ...errors import ThresholdError, UsageError
    from ...measure import baseline as earlier
    from ...measure.bench import BenchPlan, BenchResult, bench, pair_of, thread_counts

    if fail_below is not None and baseline is None:
        raise UsageError("--fail-below needs a --baseline to compare with")
    limit = earlier.percentage(fail_below) if fail_below is not None else None
    before = earlier.read(baseline) if baseline is not None else None
    plan = BenchPlan(prompt, gen, pair_of(prompt_gen), depth, repeats, kv_type, roofline)
    rows: list[BenchResult] = []
    with ui.Screen(quiet=quiet) as screen:
        measured = kept(bench(models, plan, thread_counts(threads)), rows)
        screen.lines(bench_table(measured, output, peak=roofline))
        screen.notes(row.limit for row in rows if row.limit)
        if output is choices.Layout.md:
            screen.bars(bench_bars(rows))
        if before is not None:
            changes = earlier.changes(rows, before)
            screen.notes(change_lines(changes))
            if limit is not None and (lost := earlier.slower(changes, limit)):
                raise ThresholdError(f"{len(lost)} of {len(changes)} tests lost more than {limit:g} % of their speed")
