"""`llmlocal bench`: how fast a model reads and answers on this machine."""

from __future__ import annotations

from . import options as o
from . import ui
from .tables import bench_table


def bench(
    model: o.Model,
    prompt: o.BenchPrompt = 512,
    gen: o.BenchAnswer = 128,
    depth: o.Depth = 0,
    threads: o.Threads = None,
    kv_type: o.KvType = o.Cache.f16,
    repeats: o.Repeats = 5,
    output: o.Output = o.Layout.md,
    quiet: o.Quiet = False,
) -> None:
    """Measure speed as llama-bench does: pp reads a prompt, tg makes an answer.

    GB/s are the bytes of weights read while answering; the share is of what all threads read from memory at best,
    in a sum over 1 GiB, best of 5.

    \b
    Example: llmlocal bench model.gguf -p 512 -n 128 -r 5
    """
    from ..bench import Plan, bench

    plan = Plan(n_prompt=prompt, n_gen=gen, depth=depth, repeats=repeats)
    with ui.Screen(quiet=quiet) as screen:
        screen.lines(bench_table(model, bench(model, plan, threads, kv_type), output))
