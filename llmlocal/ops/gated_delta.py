"""The gated delta rule: a matrix for each head that forgets, and corrects what it holds under a key to the new value.

Yang et al. 2024, arXiv 2412.06464. In Kimi Delta Attention (Kimi Team 2025, arXiv 2510.26692) each channel of the keys,
a row of the matrix, forgets at a rate of its own. Columns do not depend on each other: a thread takes a tile of some of
them, which stays in its cache while it goes through the tokens of a run. Each token has the same operations in prefill
and in decode, so results depend neither on threads nor on where batches begin. (Chunks of tokens as matrix products
would save no arithmetic on a CPU: see docs/decisions/0009-recurrent-states-in-slots.md.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel, kernel
from ..quant.simd.instruction_set import InstructionSet
from .activations import sigmoid_of, sigmoid_reference
from .exp import exp, softplus
from .state_arguments import STATE, StateArguments
from .state_tile import columns, tile_parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

EPS = 1e-6  # is added to the squares of queries and keys before their norm is taken


class Arguments(NamedTuple):
    """What comes after the state.

    `x` (tokens, (2 * key_heads + heads) * dim): queries and keys of `key_heads`, values of `heads`. `decay` and
    `beta` are (tokens, heads), `out` (tokens, heads * dim); all float32. A decay by channel is (tokens, heads *
    dim). Head h has the key head h // group % key_heads. A state holds (heads, dim / columns, dim, columns): the
    tiles of each head, rows by key.
    """

    x: int
    decay: int
    beta: int
    out: int
    heads: int
    key_heads: int
    group: int
    dim: int


FIELDS = StateArguments._fields + Arguments._fields


def gated_delta_reference(
    q: Floats, k: Floats, v: Floats, decay: Floats, beta: Floats, state: Floats
) -> tuple[Floats, Floats]:
    """q, k, v (tokens, heads, dim), decay and beta (tokens, heads), state (heads, dim, dim) -> out as v, new state.

    `decay` may also be (tokens, heads, dim), of each channel of the keys. Queries and keys are normed to length 1,
    queries divided by sqrt(dim). For each token the state decays, the value it gives for the key is moved towards `v`
    by the share `beta`, and the query reads it.
    """
    import numpy as np

    q, k = (x / np.sqrt((x * x).sum(-1, keepdims=True) + EPS) for x in (q, k))
    out, state = np.empty_like(v), state.copy()
    decay = decay.reshape(*beta.shape, -1, 1)
    for t in range(len(v)):
        state *= decay[t]
        change = beta[t, :, None] * (v[t] - np.einsum("hk,hkv->hv", k[t], state))
        state += k[t, :, :, None] * change[:, None, :]
        out[t] = np.einsum("hk,hkv->hv", q[t], state) / np.sqrt(q.shape[-1])
    return out, state


def gated_delta(dim: int, *, by_channel: bool = False) -> Kernel:
    """The kernel for heads of `dim`, a multiple of 8, whose channels decay alike or `by_channel`."""
    width, name = columns(dim), "channel_gated_delta" if by_channel else "gated_delta"
    return Kernel(f"{name}_{width}", FIELDS, lambda v: _build(v, width, by_channel))


def _build(v: InstructionSet, width: int, by_channel: bool) -> Any:
    step = _token(v, width, by_channel)

    def run(counter, ith, nth, *fields):
        cache, a = StateArguments(*fields[:STATE]), Arguments(*fields[STATE:])
        tiles, tile_bytes, row = a.dim // width, 4 * a.dim * width, 4 * (2 * a.key_heads + a.heads) * a.dim
        per_run = a.heads * tiles
        count, item = v.load_i64(cache.runs) * per_run, v.take_work(counter, 1)
        while item < count:
            r, tile = item // per_run, item % per_run
            head, column = tile // tiles, tile % tiles * width
            queries = a.x + 4 * a.dim * (head // a.group % a.key_heads)
            values = a.x + 4 * (a.dim * (2 * a.key_heads + head) + column)
            for s in range(v.load_i64(cache.run_starts + 8 * r), v.load_i64(cache.run_starts + 8 * r + 8)):
                segment = cache.segments + 32 * s
                source = cache.state + cache.slot_bytes * v.load_i64(segment + 16) + tile_bytes * tile
                target = cache.state + cache.slot_bytes * v.load_i64(segment + 24) + tile_bytes * tile
                for t in range(v.load_i64(segment), v.load_i64(segment + 8)):
                    q, at = queries + row * t, a.heads * t + head
                    decay, beta = a.decay + 4 * (a.dim * at if by_channel else at), v.load_f32(a.beta + 4 * at)
                    out = a.out + 4 * (a.dim * at + column)
                    step(source, target, q, q + 4 * a.dim * a.key_heads, values + row * t, decay, beta, out, a.dim)
                    source = target
            item = v.take_work(counter, 1)

    return run


def _token(v: InstructionSet, width: int, by_channel: bool) -> Any:
    """`(source, target, q, k, value, decays, beta, out, dim)`: one token on one tile.

    The output is read from the state before it changes: S q = decay S' q + (k q) change. Channels that decay alike need
    their decay once, after the sums over them.
    """
    f32x8, n = v.f32x8, width // 8
    zeros, add, writes = tile_parts(v, width)
    change_of = v.unroll_map(
        n, lambda j, seen, value, decay, beta: (v.load(f32x8, value + 32 * j) - v.tuple_get(seen, j) * decay) * beta
    )

    def output(j, read, change, decay, share, out):
        v.store(out + 32 * j, v.fma(v.tuple_get(change, j), share, v.tuple_get(read, j) * decay))
        return 0

    outputs = v.unroll_map(n, output)

    @v.jitable
    def of_channel(p, decays, i):
        x = v.load_splat(f32x8, p + 4 * i)
        return x * v.load_splat(f32x8, decays + 4 * i) if by_channel else x

    @v.jitable
    def kept(decay, decays, i):
        return v.load_splat(f32x8, decays + 4 * i) if by_channel else decay

    def step(source, target, q, k, value, decays, beta, out, dim):
        decay = v.float32(1) if by_channel else v.load_f32(decays)
        qq, kk, qk = v.zero(f32x8), v.zero(f32x8), v.zero(f32x8)
        for i in range(0, dim, 8):
            x, y = v.load(f32x8, q + 4 * i), v.load(f32x8, k + 4 * i)
            qq, kk, qk = v.fma(x, x, qq), v.fma(y, y, kk), v.fma(x, y, qk)
        one, eps = v.float32(1), v.float32(EPS)
        q_scale = one / v.sqrt((v.reduce_add(qq) + eps) * v.float32(dim))
        k_scale = one / v.sqrt(v.reduce_add(kk) + eps)
        seen, read = zeros(), zeros()
        for i in range(dim):
            p = source + 4 * width * i
            seen = add(seen, of_channel(k, decays, i), p)
            read = add(read, of_channel(q, decays, i), p)
        change = change_of(seen, value, v.splat(f32x8, decay * k_scale), v.splat(f32x8, beta))
        share = v.reduce_add(qk) * q_scale * k_scale
        outputs(read, change, v.splat(f32x8, decay * q_scale), v.splat(f32x8, share), out)
        by, keep = v.splat(f32x8, k_scale), v.splat(f32x8, decay)
        for i in range(dim):
            at = 4 * width * i
            writes(source + at, target + at, kept(keep, decays, i), v.load_splat(f32x8, k + 4 * i) * by, change)

    return v.jitable(step)


def delta_gates_reference(alpha: Floats, beta: Floats, rate: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Gates of alpha and beta (tokens, heads): decay = exp(rate softplus(alpha + bias)), and sigmoid(beta)."""
    import numpy as np

    return np.exp(rate * np.logaddexp(0, alpha + bias)), sigmoid_reference(beta)


@kernel("tokens alpha beta rate bias heads", pieces="tokens")
def delta_gates(v: InstructionSet) -> Any:
    """`delta_gates_reference` in place of alpha and beta (tokens, heads) float32; rate, bias (heads,) float32."""
    f32x8, lane = v.f32x8, v.slice_of(0, 1)
    power, plus, gated = exp(v, v.f32x8, v.i32x8), softplus(v, v.f32x8, v.i32x8), sigmoid_of(v)
    decay = v.jitable(lambda alpha, rate, bias: power(plus(alpha + bias) * rate))

    def run(counter, ith, nth, tokens, alpha, beta, rate, bias, heads):
        count, t, whole, one = v.load_i64(tokens), v.take_work(counter, 1), heads // 8 * 8, v.splat(f32x8, 1.0)
        while t < count:
            a, b = alpha + 4 * heads * t, beta + 4 * heads * t
            for i in range(0, whole, 8):
                x, by = v.load(f32x8, a + 4 * i), v.load(f32x8, rate + 4 * i)
                v.store(a + 4 * i, decay(x, by, v.load(f32x8, bias + 4 * i)))
                v.store(b + 4 * i, gated(one, v.load(f32x8, b + 4 * i)))
            for i in range(whole, heads):
                x, by = v.load_splat(f32x8, a + 4 * i), v.load_splat(f32x8, rate + 4 * i)
                v.store(a + 4 * i, v.reduce_add(lane(decay(x, by, v.load_splat(f32x8, bias + 4 * i)))))
                v.store(b + 4 * i, v.reduce_add(lane(gated(one, v.load_splat(f32x8, b + 4 * i)))))
            t = v.take_work(counter, 1)

    return run


def channel_decay_reference(x: Floats, rate: Floats, bias: Floats) -> Floats:
    """exp(rate softplus(x + bias)) of x (tokens, width)."""
    import numpy as np

    out: Floats = np.exp(rate * np.logaddexp(0, x + bias))
    return out


@kernel("tokens x rate bias width", pieces="tokens")
def channel_decay(v: InstructionSet) -> Any:
    """`channel_decay_reference` in place of x (tokens, width) float32; rate, bias (width,) float32; width 8 n."""
    f32x8 = v.f32x8
    power, plus = exp(v, v.f32x8, v.i32x8), softplus(v, v.f32x8, v.i32x8)

    def run(counter, ith, nth, tokens, x, rate, bias, width):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            for i in range(0, 4 * width, 32):
                at = x + 4 * width * t + i
                by = plus(v.load(f32x8, at) + v.load(f32x8, bias + i))
                v.store(at, power(by * v.load(f32x8, rate + i)))
            t = v.take_work(counter, 1)

    return run
