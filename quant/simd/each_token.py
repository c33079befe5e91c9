"""How the tokens of a batch are shared among threads where each is little work."""

from __future__ import annotations

from typing import Any

from .instruction_set import InstructionSet

TURNS, MOST = 8, 8  # how often a thread draws from a batch, and how many tokens at once, at most


def each_token(v: InstructionSet, token: Any) -> Any:
    """`(counter, nth, tokens, *args)`: `token(t, *args)` for this thread's share of tokens 0 to their number - 1.

    `tokens` is the address of the number. The counter's cache line goes from core to core with every draw, so that
    threads draw several tokens at once where there are many.
    """

    def run(counter, nth, tokens, *args):
        count = v.load_i64(tokens)
        some = max(1, min(MOST, count // (TURNS * nth)))
        first = v.take_work(counter, some)
        while first < count:
            for t in range(first, min(count, first + some)):
                token(t, *args)
            first = v.take_work(counter, some)

    return v.jitable(run)
