"""Causal short convolution: each channel is a weighted sum of its last few inputs; a state holds the past ones.

Fu et al. 2023, arXiv 2212.14052; the gated form is that of LFM2 (Liquid AI 2025, arXiv 2511.23404). A thread takes some
channels of a run and goes through its tokens in order; each output has the same operations wherever a batch begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet
from .activations import sigmoid_of, sigmoid_reference
from .state_arguments import STATE, StateArguments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BLOCK = 128  # channels that a thread takes at once


class Arguments(NamedTuple):
    """A state is (size - 1, channels).

    `x` (tokens, row_bytes / 4) holds the inputs from byte `column` on; in the gated form three parts of `channels`:
    input gate, output gate, input. `weight` (size, channels), `bias` (channels,), `out` (tokens, channels); float32.
    """

    x: int
    row_bytes: int
    column: int
    weight: int
    bias: int
    out: int
    channels: int


FIELDS = StateArguments._fields + Arguments._fields


def short_conv_reference(x: Floats, state: Floats, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """The convolution of x (tokens, channels) after state (size - 1, channels) -> out (tokens, channels), new state.

    `weight` (channels, size), the last column for the newest input; `bias` (channels,).
    """
    import numpy as np

    size, whole = weight.shape[1], np.concatenate([state, x])
    out = bias + sum(whole[j : j + len(x)] * weight[:, j] for j in range(size))
    return out, whole[len(x) :]


def silu_conv_reference(x: Floats, state: Floats, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """As `short_conv_reference`, with out * sigmoid(out)."""
    out, state = short_conv_reference(x, state, weight, bias)
    return out * sigmoid_reference(out), state


def gated_conv_reference(x: Floats, state: Floats, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """x (tokens, 3 * channels) is an input gate, an output gate, the input: output gate * conv(input gate * input)."""
    import numpy as np

    before, after, value = np.split(x, 3, axis=1)
    out, state = short_conv_reference(before * value, state, weight, bias)
    return after * out, state


def plain_conv(size: int) -> Kernel:
    """The convolution of `size` inputs."""

    def build(v: InstructionSet) -> Any:
        def read(load: Any) -> Any:
            return v.jitable(lambda p, channels: load(v.f32x8, p))

        return _build(v, size, read, lambda load: v.jitable(lambda out, p, channels: out))

    return Kernel(f"plain_conv_{size}", FIELDS, build)


def silu_conv(size: int) -> Kernel:
    """The convolution of `size` inputs followed by SiLU."""

    def build(v: InstructionSet) -> Any:
        gated = sigmoid_of(v)

        def read(load: Any) -> Any:
            return v.jitable(lambda p, channels: load(v.f32x8, p))

        return _build(v, size, read, lambda load: v.jitable(lambda out, p, channels: gated(out, out)))

    return Kernel(f"silu_conv_{size}", FIELDS, build)


def gated_conv(size: int) -> Kernel:
    """The convolution of `size` gated inputs, whose output is gated too."""

    def build(v: InstructionSet) -> Any:
        def read(load: Any) -> Any:
            return v.jitable(lambda p, channels: load(v.f32x8, p) * load(v.f32x8, p + 8 * channels))

        def finish(load: Any) -> Any:
            return v.jitable(lambda out, p, channels: out * load(v.f32x8, p + 4 * channels))

        return _build(v, size, read, finish)

    return Kernel(f"gated_conv_{size}", FIELDS, build)


def _build(v: InstructionSet, size: int, read_of: Any, finish_of: Any) -> Any:
    """`read_of(load)`: the input at an address; `finish_of(load)`: the output of a sum. `load`: eight lanes, or one."""
    eight, one = (_output(v, size, load, read_of(load), finish_of(load)) for load in (v.load, v.load_splat))
    move, lane = _move(v, size, read_of(v.load), read_of(v.load_splat)), v.slice_of(0, 1)

    def run(counter, ith, nth, *fields):
        cache, a = StateArguments(*fields[:STATE]), Arguments(*fields[STATE:])
        blocks = (a.channels + BLOCK - 1) // BLOCK
        count, item = v.load_i64(cache.runs) * blocks, v.take_work(counter, 1)
        while item < count:
            r, begin = item // blocks, item % blocks * BLOCK
            stop = min(begin + BLOCK, a.channels)
            whole = stop - (stop - begin) % 8
            for s in range(v.load_i64(cache.run_starts + 8 * r), v.load_i64(cache.run_starts + 8 * r + 8)):
                segment = cache.segments + 32 * s
                first, end = v.load_i64(segment), v.load_i64(segment + 8)
                old = cache.state + cache.slot_bytes * v.load_i64(segment + 16)
                for t in range(first, end):
                    row = a.out + 4 * a.channels * t
                    for i in range(begin, whole, 8):
                        v.store(row + 4 * i, eight(a, t, first, old, i))
                    for i in range(whole, stop):
                        v.store(row + 4 * i, v.reduce_add(lane(one(a, t, first, old, i))))
                move(a, first, end, old, cache.state + cache.slot_bytes * v.load_i64(segment + 24), begin, stop)
            item = v.take_work(counter, 1)

    return run


def _output(v: InstructionSet, size: int, load: Any, read: Any, finish: Any) -> Any:
    """`(a, t, first, old, i)`: the output of channels from `i` on at row t, rows before `first` being in `old`."""
    f32x8 = v.f32x8

    def tap(j: int) -> Any:
        def add(total, a, t, first, old, i):
            row = t + j - (size - 1)
            weight = load(f32x8, a.weight + 4 * (j * a.channels + i))
            if row >= first:
                return v.fma(weight, read(a.x + a.row_bytes * row + a.column + 4 * i, a.channels), total)
            return v.fma(weight, load(f32x8, old + 4 * ((row - first + size - 1) * a.channels + i)), total)

        return v.jitable(add)

    taps = v.fold_parts([tap(j) for j in range(size)])

    def output(a, t, first, old, i):
        total = taps(load(f32x8, a.bias + 4 * i), a, t, first, old, i)
        return finish(total, a.x + a.row_bytes * t + a.column + 4 * i, a.channels)

    return v.jitable(output)


def _move(v: InstructionSet, size: int, read: Any, read_one: Any) -> Any:
    """`(a, first, end, old, new, begin, stop)`: the state after row `end`, oldest first, so that `old` may be `new`."""
    f32x8, lane = v.f32x8, v.slice_of(0, 1)

    def move(a, first, end, old, new, begin, stop):
        for j in range(size - 1):
            row = end + j - (size - 1)
            source, target = old + 4 * (row - first + size - 1) * a.channels, new + 4 * j * a.channels
            inputs, whole = a.x + a.row_bytes * row + a.column, stop - (stop - begin) % 8
            for i in range(begin, whole, 8):
                x = read(inputs + 4 * i, a.channels) if row >= first else v.load(f32x8, source + 4 * i)
                v.store(target + 4 * i, x)
            for i in range(whole, stop):
                x = read_one(inputs + 4 * i, a.channels) if row >= first else v.load_splat(f32x8, source + 4 * i)
                v.store(target + 4 * i, v.reduce_add(lane(x)))

    return v.jitable(move)
