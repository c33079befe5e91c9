"""`llmlocal warmup`: compile kernels now, not when the first answer is wanted."""

from __future__ import annotations

from .. import options as o
from ..ui import terminal


def warmup(model: o.MaybeModel = None, threads: o.Threads = None, quiet: o.Quiet = False) -> None:
    """Compile the kernels that a model needs, or those of every format, and keep them. Later starts take no compiler.

    \b
    Examples: llmlocal warmup model.gguf
              llmlocal warmup
    """
    from ...quant.jit.cpu import physical_cores, target

    with terminal.Screen(quiet=quiet) as screen:
        if model is not None:
            from ...engine import Engine

            engine = Engine.open(model, n_threads=threads)
            count = engine.n_kernels
            engine.close()
        else:
            from ...doctor.self_test import warm_up

            count = warm_up(processes=threads or physical_cores())
        screen.notes([f"{count} kernels for {target().isa} are ready"])
