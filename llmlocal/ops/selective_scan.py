"""The scan of Mamba: a few numbers for each channel, each of which forgets at a rate of its own and adds.

Gu and Dao 2023, arXiv 2312.00752, section 3.2, as a recurrence. A thread takes some channels of a run and goes through
its tokens in order; each token has the same operations in every batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet
from .exp import exp, softplus
from .state_arguments import STATE, StateArguments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BLOCK = 32  # channels that a thread takes at once


class Arguments(NamedTuple):
    """A state is (size, channels).

    `x`, `step` and `out` are (tokens, channels), `b` and `c` (tokens, size), `rate` (size, channels), `skip`
    (channels,); all float32. The number of channels is a multiple of 8.
    """

    x: int
    step: int
    b: int
    c: int
    rate: int
    skip: int
    out: int
    channels: int
    size: int


FIELDS = StateArguments._fields + Arguments._fields


def selective_scan_reference(
    x: Floats, step: Floats, b: Floats, c: Floats, rate: Floats, skip: Floats, state: Floats
) -> tuple[Floats, Floats]:
    """x, step (tokens, channels), b, c (tokens, size), rate and state (size, channels), skip (channels,) -> out, state.

    With d = softplus(step) the state decays by exp(rate d) and adds b x d; c reads it, and x skip is added.
    """
    import numpy as np

    out, state, step = np.empty_like(x), state.copy(), np.logaddexp(0, step)
    for t in range(len(x)):
        state *= np.exp(rate * step[t])
        state += np.outer(b[t], x[t] * step[t])
        out[t] = c[t] @ state + skip * x[t]
    return out, state


def _build(v: InstructionSet) -> Any:
    f32x8 = v.f32x8
    power, plus = exp(v, v.f32x8, v.i32x8), softplus(v, v.f32x8, v.i32x8)

    @v.jitable
    def eight(a, t, i, source, target):
        """The output of 8 channels from `i` on at row t; their state moves from `source` to `target`."""
        row, width = 4 * (a.channels * t + i), 4 * a.channels
        x, step = v.load(f32x8, a.x + row), plus(v.load(f32x8, a.step + row))
        total, change = x * v.load(f32x8, a.skip + 4 * i), x * step
        for s in range(a.size):
            at, of_token = width * s + 4 * i, 4 * (a.size * t + s)
            kept = v.load(f32x8, source + at) * power(step * v.load(f32x8, a.rate + at))
            new = v.fma(v.load_splat(f32x8, a.b + of_token), change, kept)
            v.store(target + at, new)
            total = v.fma(v.load_splat(f32x8, a.c + of_token), new, total)
        v.store(a.out + row, total)

    def run(counter, ith, nth, *fields):
        cache, a = StateArguments(*fields[:STATE]), Arguments(*fields[STATE:])
        blocks = (a.channels + BLOCK - 1) // BLOCK
        count, item = v.load_i64(cache.runs) * blocks, v.take_work(counter, 1)
        while item < count:
            r, begin = item // blocks, item % blocks * BLOCK
            for s in range(v.load_i64(cache.run_starts + 8 * r), v.load_i64(cache.run_starts + 8 * r + 8)):
                segment = cache.segments + 32 * s
                source = cache.state + cache.slot_bytes * v.load_i64(segment + 16)
                target = cache.state + cache.slot_bytes * v.load_i64(segment + 24)
                for t in range(v.load_i64(segment), v.load_i64(segment + 8)):
                    for i in range(begin, min(begin + BLOCK, a.channels), 8):
                        eight(a, t, i, source, target)
                    source = target
            item = v.take_work(counter, 1)

    return run


selective_scan = Kernel("selective_scan", FIELDS, _build)
