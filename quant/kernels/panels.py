"""How the tokens of a batch are cut into panels, which share each weight that is loaded. Knows no weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..simd.instruction_set import InstructionSet

BAND = 32  # rows whose unpacked weights stay in the L1 cache while all tokens pass


def in_panels(v: InstructionSet, most: int, panel_of: Callable[[int], Callable[..., Any]]) -> Any:
    """The function `(tokens, *args)` that runs `panel_of(n)`, a function `(t, *args)` for tokens t .. t + n - 1.

    As many panels of `most` tokens, a power of two, as there are, then at most one of every smaller power.
    """

    def run_of(n: int) -> Any:
        panel = v.jitable(panel_of(n))

        def run(t, tokens, *args):
            while t + n <= tokens:
                panel(t, *args)
                t += n
            return t

        return v.jitable(run)

    runs = v.fold_parts([run_of(n) for n in (16, 8, 4, 2, 1) if n <= most])
    return v.jitable(lambda tokens, *args: runs(0, tokens, *args))


def fetch_rows(v: InstructionSet) -> Any:
    """`(rows, row_bytes, first, last)`: ask for the cache lines in which bytes first .. last - 1 of LANES rows end.

    So many streams are more than a CPU follows by itself.
    """

    def run(rows, row_bytes, first, last):
        for line in range(first // 64, last // 64):
            for r in range(v.LANES):
                v.prefetch(rows + row_bytes * r + 64 * line)

    return v.jitable(run)
