"""`llmlocal doctor`: whether everything works on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ..options.engine import Threads
from ..options.report import Json, Quiet
from ..ui import terminal
from ..views.model import to_json

if TYPE_CHECKING:
    from ...doctor.facts import Fact


def doctor(as_json: Json = False, threads: Threads = None, quiet: Quiet = False) -> None:
    """Show hardware facts and run health checks.

    Every kernel is run on this machine and compared with plain arithmetic; the exit code is 1 if a check fails. The
    first run compiles all kernels, which takes a minute or two.

    \b
    Example: llmlocal doctor
    """
    from ...doctor.facts import facts
    from ...doctor.self_test import self_test, trials
    from ...quant.jit.cpu import physical_cores

    found, tests, total = [], [], sum(1 for _ in trials())
    with terminal.Screen(quiet=quiet) as screen:
        for fact in facts():
            found.append(fact)
            if not as_json:
                screen.fact(fact.name, fact.value, fact.ok, fact.hint)
        for outcome in self_test(threads or physical_cores()):
            tests.append(outcome)
            screen.progress("self-test", len(tests), total, " kernels")
        failed = [test for test in tests if not test.passed]
        healthy = not failed and all(fact.ok is not False for fact in found)
        if as_json:
            kernels = [{"name": t.name, "error": t.error, "bound": t.bound, "ok": t.passed} for t in tests]
            terminal.say(to_json(ok=healthy, facts=[_record(fact) for fact in found], self_test=kernels))
        else:
            passed = f"{len(tests) - len(failed)} of {len(tests)} kernels passed"
            screen.fact("self-test", passed, not failed, "please report this, with the list below")
            screen.lines(f"  failed: {t.name}, error {t.error:.1e}, allowed {t.bound:.0e}" for t in failed)
    if not healthy:
        raise typer.Exit(1)


def _record(fact: Fact) -> dict[str, object]:
    return {"name": fact.name, "value": fact.value, "ok": fact.ok}
