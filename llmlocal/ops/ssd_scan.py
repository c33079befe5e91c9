"""The scan of Mamba-2: a matrix for each head that forgets and adds, read by each token.

Dao and Gu 2024, arXiv 2405.21060, as a recurrence. Threads take tiles of columns, as in `gated_delta`: each token has
the same operations in every batch. A few rows of a tile stay in registers while all tokens of a block pass by, so that
the state is read and written once for a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel, kernel
from ..quant.simd.instruction_set import InstructionSet
from .exp import exp, softplus
from .state_arguments import STATE, StateArguments
from .state_tile import WIDEST, columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOKENS = 16  # of a block
REGISTERS = 8  # vectors of the state that stay in registers
SCRATCH_BYTES = 2 * 4 * WIDEST * TOKENS  # what each token reads, and what it adds, a row of a tile each


class Arguments(NamedTuple):
    """What comes after the state.

    `x` (tokens, heads * dim + 2 * groups * size): inputs of all heads, then B and C of all groups. `decay` and
    `step` are (tokens, heads), `skip` (heads,), `out` (tokens, heads * dim); all float32. Head h has the group h *
    groups // heads. A state holds (heads, dim / columns, size, columns): the tiles of each head, rows by element of
    B and C. `scratch` are SCRATCH_BYTES for each thread.
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
    scratch: int


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
    begins, passes, ends = _begin(v, width), _pass(v, width), _end(v, width)

    def run(counter, ith, nth, *fields):
        cache, a = StateArguments(*fields[:STATE]), Arguments(*fields[STATE:])
        tiles, tile_bytes, scratch = a.dim // width, 4 * a.size * width, a.scratch + SCRATCH_BYTES * ith
        per_run = a.heads * tiles
        count, item = v.load_i64(cache.runs) * per_run, v.take_work(counter, 1)
        while item < count:
            r, tile = item // per_run, item % per_run
            head, column = tile // tiles, tile % tiles * width
            for s in range(v.load_i64(cache.run_starts + 8 * r), v.load_i64(cache.run_starts + 8 * r + 8)):
                segment = cache.segments + 32 * s
                source = cache.state + cache.slot_bytes * v.load_i64(segment + 16) + tile_bytes * tile
                target = cache.state + cache.slot_bytes * v.load_i64(segment + 24) + tile_bytes * tile
                end = v.load_i64(segment + 8)
                for t in range(v.load_i64(segment), end, TOKENS):
                    n = min(TOKENS, end - t)
                    begins(a, t, n, head, column, scratch)
                    passes(a, t, n, head, source, target, scratch)
                    ends(a, t, n, head, column, scratch)
                    source = target
            item = v.take_work(counter, 1)

    return run


def _begin(v: InstructionSet, width: int) -> Any:
    """`(a, t, n, head, column, scratch)`: nothing read yet, and what `n` tokens from `t` on add: inputs times steps."""

    def clear(j, read, x, step):
        v.store(read + 32 * j, v.zero(v.f32x8))
        v.store(read + 4 * width + 32 * j, v.load(v.f32x8, x + 32 * j) * step)
        return 0

    clears = v.unroll_map(width // 8, clear)

    def run(a, t, n, head, column, scratch):
        row = 4 * (a.heads * a.dim + 2 * a.groups * a.size)
        for i in range(n):
            x = a.x + row * (t + i) + 4 * (a.dim * head + column)
            clears(scratch + 8 * width * i, x, v.load_splat(v.f32x8, a.step + 4 * (a.heads * (t + i) + head)))

    return v.jitable(run)


def _pass(v: InstructionSet, width: int) -> Any:
    """`(a, t, n, head, source, target, scratch)`: `n` tokens pass the tile, which is read before each changes it."""
    f32x8, columns = v.f32x8, width // 8
    rows = REGISTERS // columns

    def row_of(r: int) -> Any:
        return v.unroll_map(
            columns, lambda j, read, kept, c: v.fma(c, v.tuple_get(kept, columns * r + j), v.tuple_get(read, j))
        )

    def read_part(r: int) -> Any:
        row = row_of(r)
        return v.jitable(lambda read, kept, c: row(read, kept, v.load_splat(f32x8, c + 4 * r)))

    def changed(k, kept, decay, b, change):
        added = v.load(f32x8, change + 32 * (k % columns))
        return v.fma(v.load_splat(f32x8, b + 4 * (k // columns)), added, v.tuple_get(kept, k) * decay)

    def store(k, p, values):
        v.store(p + 32 * k, v.tuple_get(values, k))
        return 0

    load = v.unroll_map(REGISTERS, lambda k, p: v.load(f32x8, p + 32 * k))
    load_row = v.unroll_map(columns, lambda j, p: v.load(f32x8, p + 32 * j))
    reads, changes = v.fold_parts([read_part(r) for r in range(rows)]), v.unroll_map(REGISTERS, changed)
    store_all, store_row = v.unroll_map(REGISTERS, store), v.unroll_map(columns, store)

    def run(a, t, n, head, source, target, scratch):
        row, gates = 4 * (a.heads * a.dim + 2 * a.groups * a.size), a.decay + 4 * (a.heads * t + head)
        b_of = a.x + row * t + 4 * (a.heads * a.dim + a.size * (head * a.groups // a.heads))
        for i in range(0, a.size, rows):
            kept, b, read = load(source + 4 * width * i), b_of + 4 * i, scratch
            for g in range(n):
                store_row(read, reads(load_row(read), kept, b + 4 * a.groups * a.size))
                kept = changes(kept, v.load_splat(f32x8, gates + 4 * a.heads * g), b, read + 4 * width)
                b, read = b + row, read + 8 * width
            store_all(target + 4 * width * i, kept)

    return v.jitable(run)


def _end(v: InstructionSet, width: int) -> Any:
    """`(a, t, n, head, column, scratch)`: the outputs of `n` tokens: S c = decay S' c + (b c) step x, and skip x."""
    f32x8 = v.f32x8

    def say(j, read, decay, share, x, skip, out):
        own = v.fma(v.load(f32x8, x + 32 * j), skip, v.load(f32x8, read + 4 * width + 32 * j) * share)
        v.store(out + 32 * j, v.fma(v.load(f32x8, read + 32 * j), decay, own))
        return 0

    says = v.unroll_map(width // 8, say)

    def run(a, t, n, head, column, scratch):
        row, skip = 4 * (a.heads * a.dim + 2 * a.groups * a.size), v.load_splat(f32x8, a.skip + 4 * head)
        for g in range(t, t + n):
            x, b = a.x + row * g, a.x + row * g + 4 * (a.heads * a.dim + a.size * (head * a.groups // a.heads))
            bc, c = v.zero(f32x8), b + 4 * a.groups * a.size
            for i in range(0, a.size, 8):
                bc = v.fma(v.load(f32x8, b + 4 * i), v.load(f32x8, c + 4 * i), bc)
            decay, share = v.load_splat(f32x8, a.decay + 4 * (a.heads * g + head)), v.splat(f32x8, v.reduce_add(bc))
            x, out = x + 4 * (a.dim * head + column), a.out + 4 * (a.dim * (a.heads * g + head) + column)
            says(scratch + 8 * width * (g - t), decay, share, x, skip, out)

    return v.jitable(run)


def scan_gates_reference(step: Floats, rate: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Gates of step (tokens, heads): step = softplus(step + bias), and decay = exp(rate step)."""
    import numpy as np

    step = np.logaddexp(0, step + bias)
    return step, np.exp(rate * step)


@kernel("tokens step decay rate bias heads", pieces="tokens")
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
