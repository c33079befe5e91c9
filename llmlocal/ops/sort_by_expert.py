"""Sorts the (token, expert) pairs of a batch by expert, so that each expert multiplies neighbouring rows.

A pair is one choice of a token; within an expert, pairs keep the order of their tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet

GROUP_BYTES = 24  # of a group: int64 expert, first pair, number of pairs


class Arguments(NamedTuple):
    """Pairs are numbered in sorted order, except in `pair_of`, which has the order of `chosen`."""

    tokens: int  # address of their number
    chosen: int  # (tokens, used) int64: expert numbers
    groups: int  # int64: number of chosen experts, then expert, first pair and number of pairs of each; groups_bytes()
    token_of: int  # (tokens * used,) int64: token of each sorted pair
    expert_of: int  # (tokens * used,) int64: expert of each sorted pair
    pair_of: int  # (tokens, used) int64: sorted pair of each choice
    experts: int
    used: int


def groups_bytes(experts: int) -> int:
    """Bytes of `groups`: the number of chosen experts, their groups, and a counter for each expert."""
    return 8 + (GROUP_BYTES + 8) * experts


def _build(v: InstructionSet) -> Any:
    @v.jitable
    def write_groups(a, pairs, counters):
        """Write `groups`; each expert's counter becomes its first pair."""
        for e in range(a.experts):
            v.store(counters + 8 * e, 0)
        for p in range(pairs):
            at = counters + 8 * v.load_i64(a.chosen + 8 * p)
            v.store(at, v.load_i64(at) + 1)
        start, groups = 0, 0
        for e in range(a.experts):
            n = v.load_i64(counters + 8 * e)
            v.store(counters + 8 * e, start)
            if n > 0:
                at = a.groups + 8 + GROUP_BYTES * groups
                v.store(at, e)
                v.store(at + 8, start)
                v.store(at + 16, n)
                groups += 1
            start += n
        v.store(a.groups, groups)

    def run(counter, ith, nth, *fields):
        a = Arguments(*fields)
        if v.take_work(counter, 1) > 0:  # one thread does it all
            return
        pairs, counters = v.load_i64(a.tokens) * a.used, a.groups + 8 + GROUP_BYTES * a.experts
        write_groups(a, pairs, counters)
        for p in range(pairs):
            e = v.load_i64(a.chosen + 8 * p)
            pair = v.load_i64(counters + 8 * e)
            v.store(counters + 8 * e, pair + 1)
            v.store(a.token_of + 8 * pair, p // a.used)
            v.store(a.expert_of + 8 * pair, e)
            v.store(a.pair_of + 8 * p, pair)

    return run


sort_by_expert = Kernel("sort_by_expert", Arguments._fields, _build, pieces="tokens")
