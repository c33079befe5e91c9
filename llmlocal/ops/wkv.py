"""The states of RWKV: a matrix for each head. Its rows, one for each channel of the keys, decay at rates of their own.

RWKV-6 (Peng et al. 2024, arXiv 2404.05892) adds the value of a token under its key; RWKV-7 (Peng et al. 2025, arXiv
2503.14456) first takes out part of what the matrix holds under another key. As in `gated_delta`, a thread takes some
columns through the tokens of a run, and each token has the same operations in every batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel, kernel
from ..quant.simd.instruction_set import InstructionSet
from .activations import sigmoid_of, sigmoid_reference
from .exp import exp
from .state_arguments import STATE, StateArguments
from .state_tile import columns, tile_parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_DECAY = -0.606531  # of RWKV-7: the logarithm of the factor that a channel keeps at least, -e^-0.5
SMALLEST = 1e-24  # is added to the squares of removal keys before their norm is taken


class Arguments(NamedTuple):
    """What comes after the state.

    `r`, `decay`, `k`, `v`, `out` (tokens, heads * dim); all float32. RWKV-7: `removal` and `rate` as these. RWKV-6:
    `removal` is the bonus (heads * dim,), `rate` is not read. A state holds (heads, dim / columns, dim, columns):
    the tiles of each head, rows by key.
    """

    r: int
    decay: int
    k: int
    v: int
    removal: int
    rate: int
    out: int
    heads: int
    dim: int


FIELDS = StateArguments._fields + Arguments._fields


def wkv7_reference(
    r: Floats, decay: Floats, k: Floats, v: Floats, removal: Floats, rate: Floats, state: Floats
) -> tuple[Floats, Floats]:
    """r, decay, k, v, removal, rate (tokens, heads, dim), state (heads, dim, dim) -> out as v, new state.

    For each token the state decays, loses what it held under `removal` by the share `rate`, and gets v under k; r reads
    it.
    """
    import numpy as np

    out, state = np.empty_like(v), state.copy()
    for t in range(len(v)):
        held = np.einsum("hk,hkv->hv", removal[t], state)
        state *= decay[t, :, :, None]
        state += k[t, :, :, None] * v[t, :, None] - (removal * rate)[t, :, :, None] * held[:, None]
        out[t] = np.einsum("hk,hkv->hv", r[t], state)
    return out, state


def wkv6_reference(
    r: Floats, decay: Floats, k: Floats, v: Floats, bonus: Floats, state: Floats
) -> tuple[Floats, Floats]:
    """r, decay, k, v (tokens, heads, dim), bonus (heads, dim), state (heads, dim, dim) -> out as v, new state.

    r reads the state before the token with v under bonus * k; then the state decays and gets v under k.
    """
    import numpy as np

    out, state = np.empty_like(v), state.copy()
    for t in range(len(v)):
        added = k[t, :, :, None] * v[t, :, None]
        out[t] = np.einsum("hk,hkv->hv", r[t], state + bonus[:, :, None] * added)
        state = state * decay[t, :, :, None] + added
    return out, state


def wkv7(dim: int) -> Kernel:
    """The kernel of RWKV-7 for heads of `dim`, a multiple of 8."""
    width = columns(dim)
    return Kernel(f"wkv7_{width}", FIELDS, lambda v: _build(v, width, _token7(v, width)))


def wkv6(dim: int) -> Kernel:
    """The kernel of RWKV-6 for heads of `dim`, a multiple of 8."""
    width = columns(dim)
    return Kernel(f"wkv6_{width}", FIELDS, lambda v: _build(v, width, _token6(v, width)))


def _build(v: InstructionSet, width: int, step: Any) -> Any:
    """`step(a, source, target, row, head, column)`: a token on a tile; `row` and `head`: bytes to a head's channels in
    rows of tokens and in a row, `column`: bytes to those of the tile."""

    def run(counter, ith, nth, *fields):
        cache, a = StateArguments(*fields[:STATE]), Arguments(*fields[STATE:])
        tiles, tile_bytes = a.dim // width, 4 * a.dim * width
        per_run = a.heads * tiles
        count, item = v.load_i64(cache.runs) * per_run, v.take_work(counter, 1)
        while item < count:
            r, tile = item // per_run, item % per_run
            head, column = 4 * a.dim * (tile // tiles), 4 * width * (tile % tiles)
            for s in range(v.load_i64(cache.run_starts + 8 * r), v.load_i64(cache.run_starts + 8 * r + 8)):
                segment = cache.segments + 32 * s
                source = cache.state + cache.slot_bytes * v.load_i64(segment + 16) + tile_bytes * tile
                target = cache.state + cache.slot_bytes * v.load_i64(segment + 24) + tile_bytes * tile
                for t in range(v.load_i64(segment), v.load_i64(segment + 8)):
                    step(a, source, target, 4 * a.dim * a.heads * t + head, head, column)
                    source = target
            item = v.take_work(counter, 1)

    return run


def _token7(v: InstructionSet, width: int) -> Any:
    """The output is read from the state before it changes, as in `gated_delta`."""
    f32x8, n = v.f32x8, width // 8
    zeros, add, _ = tile_parts(v, width)

    def output(j, read, held, value, by_key, by_removal, out):
        x = v.fma(v.load(f32x8, value + 32 * j), by_key, v.tuple_get(read, j))
        v.store(out + 32 * j, x - by_removal * v.tuple_get(held, j))
        return 0

    def write(j, source, target, decay, key, value, removed, held):
        x = v.load(f32x8, source + 32 * j) * decay - removed * v.tuple_get(held, j)
        v.store(target + 32 * j, v.fma(key, v.load(f32x8, value + 32 * j), x))
        return 0

    outputs, writes = v.unroll_map(n, output), v.unroll_map(n, write)

    def step(a, source, target, row, head, column):
        by_key, by_removal, held, read = v.zero(f32x8), v.zero(f32x8), zeros(), zeros()
        for i in range(row, row + 4 * a.dim, 32):
            r = v.load(f32x8, a.r + i)
            by_key = v.fma(r, v.load(f32x8, a.k + i), by_key)
            by_removal = v.fma(r, v.load(f32x8, a.removal + i) * v.load(f32x8, a.rate + i), by_removal)
        for i in range(a.dim):
            p, at = source + 4 * width * i, row + 4 * i
            held = add(held, v.load_splat(f32x8, a.removal + at), p)
            read = add(read, v.load_splat(f32x8, a.r + at) * v.load_splat(f32x8, a.decay + at), p)
        value, out = a.v + row + column, a.out + row + column
        outputs(read, held, value, v.splat(f32x8, v.reduce_add(by_key)), v.splat(f32x8, v.reduce_add(by_removal)), out)
        for i in range(a.dim):
            p, at = 4 * width * i, row + 4 * i
            removed = v.load_splat(f32x8, a.removal + at) * v.load_splat(f32x8, a.rate + at)
            decay, key = v.load_splat(f32x8, a.decay + at), v.load_splat(f32x8, a.k + at)
            writes(source + p, target + p, decay, key, value, removed, held)

    return v.jitable(step)


def _token6(v: InstructionSet, width: int) -> Any:
    f32x8, n = v.f32x8, width // 8
    zeros, add, writes = tile_parts(v, width)
    values = v.unroll_map(n, lambda j, value: v.load(f32x8, value + 32 * j))

    def output(j, read, values, by_key, out):
        v.store(out + 32 * j, v.fma(v.tuple_get(values, j), by_key, v.tuple_get(read, j)))
        return 0

    outputs = v.unroll_map(n, output)

    def step(a, source, target, row, head, column):
        by_key, read, value = v.zero(f32x8), zeros(), values(a.v + row + column)
        for i in range(0, 4 * a.dim, 32):
            bonus = v.load(f32x8, a.removal + head + i) * v.load(f32x8, a.k + row + i)
            by_key = v.fma(v.load(f32x8, a.r + row + i), bonus, by_key)
        for i in range(a.dim):
            read = add(read, v.load_splat(f32x8, a.r + row + 4 * i), source + 4 * width * i)
        outputs(read, value, v.splat(f32x8, v.reduce_add(by_key)), a.out + row + column)
        for i in range(a.dim):
            p, at = 4 * width * i, row + 4 * i
            decay, key = v.load_splat(f32x8, a.decay + at), v.load_splat(f32x8, a.k + at)
            writes(source + p, target + p, decay, key, value)

    return v.jitable(step)


def wkv7_keys_reference(
    w: Floats, k: Floats, rate: Floats, scale: Floats, share: Floats
) -> tuple[Floats, Floats, Floats]:
    """w, k, rate (tokens, heads, dim), scale and share (heads, dim) -> decay, key, removal, as w.

    Removal keys are k scale, normed to length 1; keys are k, of which the part `share` is multiplied by `rate`.
    """
    import numpy as np

    removal = k * scale
    removal = removal / np.sqrt((removal * removal).sum(-1, keepdims=True) + SMALLEST)
    return np.exp(LEAST_DECAY * sigmoid_reference(w)), k * (1 + (rate - 1) * share), removal


@kernel("tokens w k rate removal scale share heads dim")
def wkv7_keys(v: InstructionSet) -> Any:
    """`wkv7_keys_reference`, in place of w and k; `removal` as w, all float32. `dim` is a multiple of 8."""
    f32x8, gated, power = v.f32x8, sigmoid_of(v), exp(v, v.f32x8, v.i32x8)

    def run(counter, ith, nth, tokens, w, k, rate, removal, scale, share, heads, dim):
        count, item, one = v.load_i64(tokens) * heads, v.take_work(counter, 1), v.splat(f32x8, 1.0)
        while item < count:
            row, head, squares = 4 * dim * item, 4 * dim * (item % heads), v.zero(f32x8)
            for i in range(0, 4 * dim, 32):
                x = v.load(f32x8, k + row + i) * v.load(f32x8, scale + head + i)
                v.store(removal + row + i, x)
                squares = v.fma(x, x, squares)
            by = v.splat(f32x8, v.float32(1) / v.sqrt(v.reduce_add(squares) + v.float32(SMALLEST)))
            for i in range(0, 4 * dim, 32):
                at, changed = row + i, v.load(f32x8, share + head + i)
                v.store(removal + at, v.load(f32x8, removal + at) * by)
                v.store(w + at, power(gated(one, v.load(f32x8, w + at)) * LEAST_DECAY))
                v.store(k + at, v.load(f32x8, k + at) * v.fma(v.load(f32x8, rate + at) - one, changed, one))
            item = v.take_work(counter, 1)

    return run


def wkv6_decay_reference(w: Floats) -> Floats:
    """exp(-exp(w))."""
    import numpy as np

    out: Floats = np.exp(-np.exp(w))
    return out


@kernel("tokens w width", pieces="tokens")
def wkv6_decay(v: InstructionSet) -> Any:
    """`wkv6_decay_reference` in place of w (tokens, width) float32; `width` is a multiple of 8."""
    f32x8, power = v.f32x8, exp(v, v.f32x8, v.i32x8)

    def run(counter, ith, nth, tokens, w, width):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            for at in range(w + 4 * width * t, w + 4 * width * (t + 1), 32):
                v.store(at, power(v.zero(f32x8) - power(v.load(f32x8, at))))
            t = v.take_work(counter, 1)

    return run


def key_bonus_reference(out: Floats, r: Floats, k: Floats, v: Floats, bonus: Floats) -> Floats:
    """out + v (r bonus k): out, r, k, v (tokens, heads, dim), bonus (heads, dim) -> as out. The product is by head."""
    total: Floats = out + v * (r * bonus * k).sum(-1, keepdims=True)
    return total


@kernel("tokens out r k v bonus heads dim")
def key_bonus(v: InstructionSet) -> Any:
    """`key_bonus_reference` in place of out; all float32. `dim` is a multiple of 8."""
    f32x8 = v.f32x8

    def run(counter, ith, nth, tokens, out, r, k, value, bonus, heads, dim):
        count, item = v.load_i64(tokens) * heads, v.take_work(counter, 1)
        while item < count:
            row, head, total = 4 * dim * item, 4 * dim * (item % heads), v.zero(f32x8)
            for i in range(0, 4 * dim, 32):
                x = v.load(f32x8, r + row + i) * v.load(f32x8, bonus + head + i)
                total = v.fma(x, v.load(f32x8, k + row + i), total)
            by = v.splat(f32x8, v.reduce_add(total))
            for at in range(row, row + 4 * dim, 32):
                v.store(out + at, v.fma(v.load(f32x8, value + at), by, v.load(f32x8, out + at)))
            item = v.take_work(counter, 1)

    return run
