"""`llmlocal doctor`: whether everything works on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from .. import options as o
from ..ui import terminal
from ..views.model import to_json

if TYPE_CHECKING:
    from ...doctor.facts import Fact


def doctor(as_json: o.Json = False, threads: o.Threads = None, quiet: o.Quiet = False) -> None:
    """Tell what this machine is, and test every kernel on it against plain arithmetic. Exit code 1 if one fails.

    The first time kernels have to be compiled, which takes a minute or two.

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
            told = f"{len(tests) - len(failed)} of {len(tests)} kernels do what they mean"
            screen.fact("self-test", told, not failed, "please report it, with this list")
            screen.lines(f"  failed: {t.name}, error {t.error:.1e}, allowed {t.bound:.0e}" for t in failed)
    if not healthy:
        raise typer.Exit(1)


def _record(fact: Fact) -> dict[str, object]:
    return {"name": fact.name, "value": fact.value, "ok": fact.ok}
