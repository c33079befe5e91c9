"""The scan of Mamba-2: a matrix for each head that forgets and adds, read by each token.

Dao and Gu 2024, arXiv 2405.21060, as a recurrence. Threads take tiles of columns, as in `gated_delta`: each token has
the same operations in every batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel, kernel
from ..quant.simd.instruction_set import InstructionSet
from .exp import exp, softplus
from .state_arguments import STATE, StateArguments
from .state_tile import columns, tile_parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Arguments(NamedTuple):
    """What comes after the state.

    `x` (tokens, heads * dim + 2 * groups * size): inputs of all heads, then B and C of all groups. `decay` and
    `step` are (tokens, heads), `skip` (heads,), `out` (tokens, heads * dim); all float32. Head h has the group h *
    groups // heads. A state holds (heads, dim / columns, size, columns): the tiles of each head, rows by element of
    B and C.
    """

    x: int
    decay: int
    step: int
    skip: int
    out: int
    heads: int
    groups: int
    dim: int
    size: int


FIELDS = StateArguments._fields + Arguments._fields


def ssd_scan_reference(
    x: Floats, b: Floats, c: Floats, decay: Floats, step: Floats, skip: Floats, state: Floats
) -> tuple[Floats, Floats]:
    """x (tokens, heads, dim), b, c (tokens, heads, size), decay, step (tokens, heads), skip (heads,) -> out, new state.

    `state` is (heads, size, dim), `out` as x. For each token the state decays, b x step is added, c reads it, and
    x skip is added.
    """
    import numpy as np

    out, state = np.empty_like(x), state.copy()
    for t in range(len(x)):
        state *= decay[t, :, None, None]
        state += np.einsum("hs,hd,h->hsd", b[t], x[t], step[t])
        out[t] = np.einsum("hs,hsd->hd", c[t], state) + skip[:, None] * x[t]
    return out, state


def ssd_scan(dim: int) -> Kernel:
    """The kernel for heads of `dim`, a multiple of 8; the size of B and C is a multiple of 8 too."""
    width = columns(dim)
    return Kernel(f"ssd_scan_{width}", FIELDS, lambda v: _build(v, width))


def _build(v: InstructionSet, width: int) -> Any:
    token = _token(v, width)

    def run(counter, ith, nth, *fields):
        cache, a = StateArguments(*fields[:STATE]), Arguments(*fields[STATE:])
        tiles, tile_bytes = a.dim // width, 4 * a.size * width
        row, per_run = 4 * (a.heads * a.dim + 2 * a.groups * a.size), a.heads * tiles
        count, item = v.load_i64(cache.runs) * per_run, v.take_work(counter, 1)
        while item < count:
            r, tile = item // per_run, item % per_run
            head, column = tile // tiles, tile % tiles * width
            inputs = a.x + 4 * (a.dim * head + column)
            b = a.x + 4 * (a.heads * a.dim + a.size * (head * a.groups // a.heads))
            skip = v.load_f32(a.skip + 4 * head)
            for s in range(v.load_i64(cache.run_starts + 8 * r), v.load_i64(cache.run_starts + 8 * r + 8)):
                segment = cache.segments + 32 * s
                source = cache.state + cache.slot_bytes * v.load_i64(segment + 16) + tile_bytes * tile
                target = cache.state + cache.slot_bytes * v.load_i64(segment + 24) + tile_bytes * tile
                for t in range(v.load_i64(segment), v.load_i64(segment + 8)):
                    gates, out = 4 * (a.heads * t + head), a.out + 4 * (a.dim * (a.heads * t + head) + column)
                    decay, step = v.load_f32(a.decay + gates), v.load_f32(a.step + gates)
                    at = b + row * t
                    c = at + 4 * a.groups * a.size
                    token(source, target, inputs + row * t, at, c, decay, step, skip, out, a.size)
                    source = target
            item = v.take_work(counter, 1)

    return run


def _token(v: InstructionSet, width: int) -> Any:
    """`(source, target, x, b, c, decay, step, skip, out, size)`: one token on one tile.

    The output is read from the state before it changes: S c = decay S' c + (b c) step x.
    """
    f32x8, n = v.f32x8, width // 8
    zeros, add, writes = tile_parts(v, width)
    inputs = v.unroll_map(n, lambda j, x, step: v.load(f32x8, x + 32 * j) * step)

    def say(j, read, change, decay, share, x, skip, out):
        own = v.fma(v.load(f32x8, x + 32 * j), skip, v.tuple_get(change, j) * share)
        v.store(out + 32 * j, v.fma(v.tuple_get(read, j), decay, own))
        return 0

    says = v.unroll_map(n, say)

    def token(source, target, x, b, c, decay, step, skip, out, size):
        bc, read = v.zero(f32x8), zeros()
        for i in range(0, size, 8):
            bc = v.fma(v.load(f32x8, b + 4 * i), v.load(f32x8, c + 4 * i), bc)
        for i in range(size):
            read = add(read, v.load_splat(f32x8, c + 4 * i), source + 4 * width * i)
        keep, share = v.splat(f32x8, decay), v.splat(f32x8, v.reduce_add(bc))
        change = inputs(x, v.splat(f32x8, step))
        says(read, change, keep, share, x, v.splat(f32x8, skip), out)
        for i in range(size):
            at = 4 * width * i
            writes(source + at, target + at, keep, v.load_splat(f32x8, b + 4 * i), change)

    return v.jitable(token)


def scan_gates_reference(step: Floats, rate: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Gates of step (tokens, heads): step = softplus(step + bias), and decay = exp(rate step)."""
    import numpy as np

    step = np.logaddexp(0, step + bias)
    return step, np.exp(rate * step)


@kernel("tokens step decay rate bias heads")
def scan_gates(v: InstructionSet) -> Any:
    """`scan_gates_reference` in place of step (tokens, heads), into decay of the same shape; float32."""
    f32x8, lane = v.f32x8, v.slice_of(0, 1)
    power, plus = exp(v, v.f32x8, v.i32x8), softplus(v, v.f32x8, v.i32x8)

    def run(counter, ith, nth, tokens, step, decay, rate, bias, heads):
        count, t, whole = v.load_i64(tokens), v.take_work(counter, 1), heads // 8 * 8
        while t < count:
            at = 4 * heads * t
            for i in range(0, whole, 8):
                x = plus(v.load(f32x8, step + at + 4 * i) + v.load(f32x8, bias + 4 * i))
                v.store(step + at + 4 * i, x)
                v.store(decay + at + 4 * i, power(x * v.load(f32x8, rate + 4 * i)))
            for i in range(whole, heads):
                x = plus(v.load_splat(f32x8, step + at + 4 * i) + v.load_splat(f32x8, bias + 4 * i))
                v.store(step + at + 4 * i, v.reduce_add(lane(x)))
                v.store(decay + at + 4 * i, v.reduce_add(lane(power(x * v.load_splat(f32x8, rate + 4 * i)))))
            t = v.take_work(counter, 1)

    return run
