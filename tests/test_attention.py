"""Attention over the cache of keys and values against its reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attention_cache import BOUNDS, LENGTHS, SHAPES, Cache, sequence, whole
from instruction_sets import BEST, ISAS, OTHERS, REST
from naive import nmse, number, run
from numpy.typing import NDArray
from random_arrays import normal, wide

from llmlocal.layers.key_range import KeyRange
from llmlocal.ops.alibi import alibi_slopes
from llmlocal.ops.attention import (
    SPLIT_TOKENS,
    attention_reference,
)
from llmlocal.ops.attention_chunk import CHUNK
from llmlocal.ops.kv.kv_type import padded
from llmlocal.ops.relative_scores import part_scores, relative_scores, relative_scores_reference
from llmlocal.ops.text_attention import scratch_bytes, text_attention
from llmlocal.quant.kernels.q8_activations import q8_reference
from llmlocal.runtime.batch import Batch

Array = NDArray[Any]


@pytest.mark.parametrize("kind", BOUNDS)
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), SHAPES)
def test_attention_of_whole_sequences(heads: int, kv_heads: int, head_dim: int, kind: str) -> None:
    for length in LENGTHS:
        assert whole(kind, heads, kv_heads, head_dim, length) <= BOUNDS[kind], length


@pytest.mark.parametrize("isa", OTHERS)
def test_attention_in_other_instruction_sets(isa: str) -> None:
    for heads, kv_heads, head_dim, length in ((6, 2, 80, 129), (4, 4, 64, 17)):
        assert whole("f16", heads, kv_heads, head_dim, length, isa) <= BOUNDS["f16"]


@pytest.mark.parametrize("kind", BOUNDS)
def test_cached_attention_equals_that_of_the_whole(kind: str) -> None:
    """The same sequence in pieces: each token reads what earlier batches wrote."""
    q, k, v = sequence(300, 6, 2, 80)
    cache, want, start = Cache(kind, 2, 80, 320), attention_reference(wide(q), wide(k), wide(v)), 0
    for size in (1, 1, 13, 2, 111, 1, 65, 106):
        part, at = slice(start, start + size), np.arange(start, start + size)
        cache.store(k[part], v[part], at)
        assert nmse(cache.attend(q[part], at, np.zeros_like(at)), want[part]) <= BOUNDS[kind]
        start += size
    assert start == 300


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("lengths", [(5,), (3, 4), (1, 33, 300, 2, 64, 7)])
def test_attention_without_a_mask_over_packed_texts(lengths: tuple[int, ...], isa: str) -> None:
    """A token attends to all tokens of its text, also where the batch is small and chunks are split."""
    texts = [sequence(n, 6, 2, 48, seed=n) for n in lengths]
    first = np.cumsum([0, *(padded(n) for n in lengths)])
    cache = Cache("f32", 2, 48, int(first[-1]))
    q, k, v = (np.concatenate(parts) for parts in zip(*texts, strict=True))
    bases, last = np.repeat(first[:-1], lengths), np.repeat(np.array(lengths) - 1, lengths)
    positions = np.concatenate([np.arange(n) for n in lengths])
    cache.store(k, v, bases + positions, isa)
    for window in (None, 40):
        want = [attention_reference(wide(q), wide(k), wide(v), window, causal=False) for q, k, v in texts]
        keys = KeyRange(batch := Batch(len(q), 1), window, causal=False)
        batch.last_positions[:] = last
        keys.fill(positions)
        got = cache.attend(q, keys.last, bases, isa, 2, first=keys.first)
        assert nmse(got, np.concatenate(want)) <= 1e-10


@pytest.mark.parametrize("isa", ISAS)
def test_attention_within_texts(isa: str) -> None:
    """A text's result depends neither on what else is in the batch nor on the number of threads."""
    lengths, heads, kv_heads, dim = (1, 33, 300, 2, 64, 7), 6, 2, 48
    texts = [sequence(n, heads, kv_heads, dim, seed=n) for n in lengths]
    want = [attention_reference(wide(q), wide(k), wide(v), causal=False) for q, k, v in texts]
    alone = [within_texts([text], isa, 1) for text in texts]
    for got, right in zip(alone, want, strict=True):
        assert nmse(got, right) <= 1e-10
    for threads in (2, 5):  # whole texts, and parts of them
        np.testing.assert_array_equal(within_texts(texts, isa, threads), np.concatenate(alone))
    texts[2][1][7], texts[4][2][5] = np.nan, np.nan
    got = np.split(within_texts(texts, isa, 2), np.cumsum(lengths)[:-1])
    for i, rows in enumerate(got):
        assert np.isnan(rows).any() == (i in (2, 4)) and (i in (2, 4) or np.array_equal(rows, alone[i]))


def test_attention_within_texts_of_large_scores() -> None:
    """Scores far apart, all far below 0 and all far above: the greatest decides."""
    q, k, v = sequence(40, 2, 2, 16)
    for shift in (-1e3, 1e3):
        q[..., 0], k[..., 0] = 10, shift
        want = attention_reference(wide(q), wide(k), wide(v), causal=False)
        assert nmse(within_texts([(q, k, v)], BEST, 1), want) <= 1e-6


def within_texts(texts: list[tuple[Array, Array, Array]], isa: str, threads: int) -> Array:
    """Attention of texts in one batch without a cache; memory behind what is read is NaN."""
    q, k, v = (np.concatenate(parts) for parts in zip(*texts, strict=True))
    heads, kv_heads, dim, most = q.shape[1], k.shape[1], q.shape[2], max(len(text[0]) for text in texts)
    behind, each = np.full((40, kv_heads, dim), np.nan, np.float32), scratch_bytes(most, dim)
    lengths = [len(text[0]) for text in texts]
    work: dict[str, Any] = {"out": np.full((len(q) + 1, heads, dim), 9, np.float32)}
    work["scratch"] = np.full(each * threads + 64, 0x5A, np.uint8)
    run(
        text_attention,
        isa,
        threads,
        tokens=number(len(q)),
        last_positions=np.repeat(np.array(lengths) - 1, lengths),
        q=q,
        k=np.concatenate([k, behind]),
        v=np.concatenate([v, behind]),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=dim,
        scale=dim**-0.5,
        scratch_bytes=each,
        most=most,
        **work,
    )
    assert (work["out"][-1] == 9).all() and (work["scratch"][-64:] == 0x5A).all()
    got: Array = work["out"][:-1]
    return got


def two_sequences() -> tuple[Cache, Array, Array, Array, Array]:
    """A cache with two sequences of 40 and 150, and a batch that ends both, their tokens one after the other."""
    cache, q, positions, bases, want = Cache("f32", 2, 64, 384), [], [], [], []
    for base, length, tokens in ((0, 150, 70), (192, 40, 3)):
        queries, k, v = sequence(length, 8, 2, 64, seed=length)
        cache.store(k, v, base + np.arange(length))
        q.append(queries[-tokens:])
        positions.append(np.arange(length - tokens, length))
        bases.append(np.full(tokens, base))
        want.append(attention_reference(wide(queries), wide(k), wide(v))[-tokens:])
    return cache, np.concatenate(q), np.concatenate(positions), np.concatenate(bases), np.concatenate(want)


RULES: dict[str, dict[str, Any]] = {
    "window": {"window": 100},
    "window of one": {"window": 1},
    "window of all": {"window": 300},
    "softcap": {"softcap": 1.5},
    "sinks": {"sinks": np.array([-3.0, 0.0, 2.0, 9.0, -60.0, 70.0], np.float32)},
    "together": {"window": 129, "softcap": 30.0, "sinks": np.arange(6, dtype=np.float32)},
}
SLOW = [pytest.param("together", isa, marks=pytest.mark.slow) for isa in REST]


@pytest.mark.parametrize(("rule", "isa"), [(rule, BEST) for rule in RULES] + SLOW)
def test_windows_caps_and_sinks(rule: str, isa: str) -> None:
    """In one batch, and token by token at the end: the same bits."""
    rules, at, bases = RULES[rule], np.arange(300), np.zeros(300, np.int64)
    q, k, v = sequence(300, 6, 2, 80)
    q *= np.float32(3)
    cache = Cache("f32", 2, 80, 320)
    cache.store(k, v, at, isa)
    got = cache.attend(q, at, bases, isa, 2, **rules)
    meant = {name: wide(x) if isinstance(x, np.ndarray) else x for name, x in rules.items()}
    assert nmse(got, attention_reference(wide(q), wide(k), wide(v), **meant)) <= 1e-10
    for t in range(295, 300):
        one = slice(t, t + 1)
        assert np.array_equal(cache.attend(q[one], at[one], bases[one], isa, **rules), got[one])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("heads", [6, 8])
def test_score_biases(heads: int, isa: str) -> None:
    """Of each query, head and key; each token's result is the same in every batch."""
    length = CHUNK + 70
    q, k, v = sequence(length, heads, 2, 32)
    cache, at, biases = Cache("f32", 2, 32, padded(length)), np.arange(length), normal(length, heads, padded(length))
    cache.store(k, v, at, isa)
    got = cache.attend(q, at, np.zeros_like(at), isa, 2, biases=biases)
    meant = wide(biases[..., :length].swapaxes(0, 1))
    assert nmse(got, attention_reference(wide(q), wide(k), wide(v), biases=meant)) <= 1e-10
    last = slice(length - 3, length)
    assert np.array_equal(cache.attend(q[last], at[last], np.zeros(3, np.int64), isa, biases=biases), got[last])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("head_dim", [5, 24])
def test_scores_by_distance_and_by_parts(head_dim: int, isa: str) -> None:
    """Of two texts in one batch, of the query and then of the key; behind the last key of a text they are zero."""
    lengths, heads, stride = (3, 36), 2, 64
    positions = np.concatenate([np.arange(n) for n in lengths])
    tokens, last = len(positions), np.repeat(np.array(lengths) - 1, lengths)
    x, y, vectors = normal(tokens, heads, head_dim), normal(tokens, heads, head_dim, seed=1), normal(heads, 7, head_dim)
    rows, parts = np.arange(128) % 7, np.arange(tokens) % 3
    of_parts, out = normal(2, heads, head_dim, seed=2), np.full((tokens, heads, stride), np.nan, np.float32)
    where: dict[str, Any] = {"tokens": number(tokens), "positions": positions, "last_positions": last, "out": out}
    where |= {"heads": heads, "head_dim": head_dim, "stride": stride, "scale": 0.5}
    by_distance = {"vectors": vectors, "rows": rows, "origin": 64, "count": 7}
    run(relative_scores, isa, 2, x=x, by_key=0, adds=0, **by_distance, **where)
    run(relative_scores, isa, 2, x=y, by_key=1, adds=1, **by_distance, **where)
    run(part_scores, isa, 2, x=x, parts=parts, vectors=of_parts, **where)
    for first, n in zip((0, 3), lengths, strict=True):
        text, apart = slice(first, first + n), np.arange(n)[None, :] - np.arange(n)[:, None]
        want = relative_scores_reference(wide(x[text]), wide(vectors), rows[apart + 64], False)
        want += relative_scores_reference(wide(y[text]), wide(vectors), rows[apart + 64], True)
        other = (parts[text][:, None] != parts[text][None, :]).astype(np.int64)
        want += relative_scores_reference(wide(x[text]), wide(of_parts.swapaxes(0, 1)), other, False)
        assert nmse(out[text, :, :n].swapaxes(0, 1), want / 2) <= 1e-10
        assert not out[text, :, n : padded(n)].any()


@pytest.mark.parametrize("heads", [6, 8])
def test_slopes_are_those_of_the_paper(heads: int) -> None:
    exponents = np.log2(alibi_slopes(heads, 8.0))
    assert np.allclose(exponents, [-1, -2, -3, -4, -5, -6, -7, -8] if heads == 8 else [-2, -4, -6, -8, -1, -3])


def test_keys_before_the_window_are_not_read() -> None:
    q, k, v = sequence(1000, 4, 2, 64)
    k[:544], v[:544] = np.nan, np.nan  # not at the start of a chunk
    cache, at, late = Cache("f16", 2, 64, 1024), np.arange(1000), slice(900, 1000)
    cache.store(k, v, at)
    got = cache.attend(q[late], at[late], np.zeros(100, np.int64), window=356)
    assert np.isfinite(got).all()


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_cells_used_in_turn_give_the_same_bits(kind: str) -> None:
    """As cells for all positions, for every batch and whatever lies in cells of positions out of the window."""
    length, window, ring, base = 5 * CHUNK + 40, 200, 2 * CHUNK, 2 * CHUNK
    q, k, v = sequence(length, 4, 2, 64)
    whole, turns = Cache(kind, 2, 64, padded(length)), Cache(kind, 2, 64, base + ring)
    turns.store(k[:ring], v[:ring], base + np.arange(ring))
    start = 0
    for size in (1, 300, 3, 8, 9, 290, *[1] * 5, 280, 8, 200, 216):
        at, part = np.arange(start, start + size), slice(start, start + size)
        whole.store(k[part], v[part], at)
        turns.store(k[part], v[part], base + at % ring)
        want = whole.attend(q[part], at, np.zeros_like(at), None, 2, window=window)
        place = {"ring": ring, "n_ctx": padded(length)}
        assert np.array_equal(turns.attend(q[part], at, np.full_like(at, base), None, 2, window=window, **place), want)
        start += size
    assert start == length


@pytest.mark.parametrize(("head_dim", "value_dim"), [(48, 32), (20, 40)])
def test_values_of_another_length_than_keys(head_dim: int, value_dim: int) -> None:
    q, k, _ = sequence(150, 6, 2, head_dim)
    v, at = normal(150, 2, value_dim, seed=9), np.arange(150)
    cache = Cache("f32", 2, head_dim, 160, value_dim)
    cache.store(k, v, at)
    got = cache.attend(q, at, np.zeros_like(at), None, 2)
    assert nmse(got, attention_reference(wide(q), wide(k), wide(v))) <= 1e-10


def in_bytes(x: Array) -> NDArray[np.float64]:
    """What a cache in bytes keeps of x (..., 32 n): the greatest magnitude of 32 becomes 127."""
    groups = x.reshape(*x.shape[:-1], -1, 32)
    peak = np.abs(groups).max(-1, keepdims=True)
    inverse = np.divide(np.float32(127), peak, out=np.zeros_like(peak), where=peak > 0)
    kept = wide(np.rint(groups * inverse)) * wide(np.float32(1 / 127) * peak)
    return kept.reshape(x.shape)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "value_dim"), [(8, 2, 64, 64), (3, 3, 96, 32), (6, 1, 128, 128)]
)
def test_a_cache_in_bytes(heads: int, kv_heads: int, head_dim: int, value_dim: int, isa: str) -> None:
    q, k, _ = sequence(300, heads, kv_heads, head_dim)
    v, at, bases = normal(300, kv_heads, value_dim, seed=7), np.arange(300), np.zeros(300, np.int64)
    k[5], v[9, 0, :32], q[20, 0] = 0, 1e-30, 0
    cache = Cache("q8_0", kv_heads, head_dim, 320, value_dim)
    cache.store(k, v, at, isa)
    got = cache.attend(q, at, bases, isa, 2)
    seen, scales = q8_reference(q.reshape(300, -1))
    queries = (wide(seen).reshape(300, -1, 32) * wide(scales)[..., None]).reshape(q.shape)
    assert nmse(got, attention_reference(queries, in_bytes(k), in_bytes(v))) <= 1e-10
    assert nmse(got, attention_reference(wide(q), wide(k), wide(v))) <= 1e-4
    for t in (0, 31, 32, 255, 256, 299):
        one = slice(t, t + 1)
        assert np.array_equal(cache.attend(q[one], at[one], bases[one], isa), got[one])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("operand", ["k", "v"])
@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_the_cache_keeps_what_is_not_finite_visible(kind: str, operand: str, bad: float) -> None:
    parts = dict(zip("qkv", sequence(20, 2, 1, 32), strict=True))
    parts["q"][..., 3] = np.abs(parts["q"][..., 3])  # a score of minus infinity would rightly have no weight
    parts[operand][7, 0, 3] = bad
    cache, at = Cache(kind, 1, 32, 32), np.arange(20)
    cache.store(parts["k"], parts["v"], at)
    seen = cache.attend(parts["q"], at, np.zeros_like(at))
    assert not np.isfinite(seen[7:]).all(axis=(1, 2)).any()


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("tokens", [1, 2, SPLIT_TOKENS, SPLIT_TOKENS + 1, 70])
def test_a_token_means_the_same_in_every_batch_and_for_all_threads(kind: str, tokens: int) -> None:
    """Tokens of a long sequence, over three pieces: alone, a few at a time, and in a long batch."""
    length = 2 * CHUNK + 90
    q, k, v = sequence(length, 8, 2, 64)
    cache, at, bases = Cache(kind, 2, 64, padded(length)), np.arange(length), np.zeros(length, np.int64)
    cache.store(k, v, at)
    want = cache.attend(q, at, bases)
    for start in (2 * CHUNK - 1, length - tokens):
        some = slice(start, start + tokens)
        for threads in (1, 2, 8):
            assert np.array_equal(cache.attend(q[some], at[some], bases[some], None, threads), want[some])


def test_sequences_in_one_batch_do_not_see_each_other() -> None:
    cache, q, positions, bases, want = two_sequences()
    assert nmse(cache.attend(q, positions, bases), want) <= 1e-10
    turn = np.array([70, 0, 71, 1])  # tokens of both in turn
    mixed = cache.attend(*(np.ascontiguousarray(a[turn]) for a in (q, positions, bases)))
    assert nmse(mixed, want[turn]) <= 1e-10


def test_threads_change_no_bit_of_attention() -> None:
    cache, q, positions, bases, _ = two_sequences()
    alone = cache.attend(q, positions, bases)
    for threads in (2, 3, 4):
        assert np.array_equal(cache.attend(q, positions, bases, threads=threads), alone)


@pytest.mark.parametrize("changed", [1, 16, 100, 127, 128, 199])
def test_later_tokens_change_no_bit_of_earlier_ones(changed: int) -> None:
    q, k, v = sequence(200, 4, 2, 64)
    at, bases, outs = np.arange(200), np.zeros(200, np.int64), []
    for stir in (0.0, 5.0):
        k[changed:] += np.float32(stir)
        v[changed:] *= np.float32(1 + stir)
        cache = Cache("f16", 2, 64, 224)
        cache.store(k, v, at)
        outs.append(cache.attend(q, at, bases))
    assert np.array_equal(outs[0][:changed], outs[1][:changed])
    assert not np.array_equal(outs[0][changed], outs[1][changed])


def test_scores_of_any_size_and_stale_cells_do_no_harm() -> None:
    q, k, v = sequence(40, 4, 2, 64)
    q *= np.float32(300)  # one key takes all
    cache, at = Cache("f32", 2, 64, 64), np.arange(40)
    cache.store(np.full((64, 2, 64), 1e30, np.float32), np.full((64, 2, 64), -1e30, np.float32), np.arange(64))
    cache.store(k, v, at)
    assert nmse(cache.attend(q, at, np.zeros_like(at)), attention_reference(wide(q), wide(k), wide(v))) <= 1e-10


@pytest.mark.parametrize("operand", ["q", "k", "v"])
def test_attention_keeps_nan_visible(operand: str) -> None:
    parts = dict(zip("qkv", sequence(20, 2, 1, 16), strict=True))
    parts[operand][7, 0, 3] = np.nan
    cache, at = Cache("f16", 1, 16, 32), np.arange(20)
    cache.store(parts["k"], parts["v"], at)
    bad = np.isnan(cache.attend(parts["q"], at, np.zeros_like(at))).any(axis=(1, 2))
    assert bad[7] and (operand == "q" or bad[7:].all())
    assert operand == "v" or not bad[:7].any()  # a value of weight 0 still counts, and 0 times NaN is NaN
