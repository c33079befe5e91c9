"""`llmlocal warmup`: compile kernels ahead of time."""

from __future__ import annotations

from ..options.engine import Threads
from ..options.models import WarmupModel
from ..options.report import Quiet
from ..ui import terminal


def warmup(model: WarmupModel = None, threads: Threads = None, quiet: Quiet = False) -> None:
    """Compile kernels now, so that later starts are fast.

    Compiles and caches the kernels that MODEL needs, or those of every format.

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
