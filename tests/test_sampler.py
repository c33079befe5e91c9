"""Every stage of the sampler equals its plain meaning; draws have the frequencies they should and can be repeated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmlocal.errors import BadFileError, UsageError
from llmlocal.generation.sampler import Sampler, uniform
from llmlocal.generation.samplers.philox import philox
from llmlocal.generation.sampling_params import SamplingParams

OFF: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def params(**over: Any) -> SamplingParams:
    """All stages off but those in `over`."""
    return SamplingParams(**{**OFF, **over})


def probabilities(logits: Any, history: list[int] | None = None, **over: Any) -> NDArray[np.float64]:
    return Sampler(params(**over)).probabilities(np.array(logits, np.float32), history or [])


def random_logits(n: int, seed: int = 0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(n) * 3).astype(np.float32)


def plain(logits: NDArray[np.float32], history: list[int], p: SamplingParams) -> NDArray[np.float64]:
    """The chain as one would explain it: whole vectors, full sorts."""
    x = logits.astype(np.float64)
    for id, bias in p.logit_bias.items():
        x[id] += bias
    recent = history[len(history) - p.repeat_last_n :] if 0 <= p.repeat_last_n < len(history) else history
    for id in set(recent):
        x[id] = x[id] / p.repeat_penalty if x[id] > 0 else x[id] * p.repeat_penalty
        x[id] -= recent.count(id) * p.frequency_penalty + p.presence_penalty

    def mass(x: NDArray[np.float64]) -> NDArray[np.float64]:
        powers: NDArray[np.float64] = np.exp(x - x.max())
        powers /= powers.sum()
        return powers

    def keep(order: NDArray[np.intp], limit: float) -> None:
        total = 0.0
        for rank, id in enumerate(order):
            if rank and total >= limit:
                x[id] = -np.inf
            total += before[id]

    if p.top_k:
        x[np.argsort(-x, kind="stable")[p.top_k :]] = -np.inf
    before = mass(x)
    if p.typical_p < 1:
        surprise = -np.log(np.maximum(before, 1e-300))
        distance = np.abs(surprise - (before * surprise).sum())
        keep(np.argsort(np.where(before > 0, distance, np.inf), kind="stable"), p.typical_p)
    before = mass(x)
    if p.top_p < 1:
        keep(np.argsort(-before, kind="stable"), p.top_p)
    before = mass(x)
    x[before < p.min_p * before.max() * (1 - 1e-12)] = -np.inf
    return mass(x / p.temperature)


chains = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.1, 0.7, 1.0, 2.5]),
        "top_k": st.sampled_from([0, 1, 3, 40, 1000]),
        "top_p": st.sampled_from([1.0, 0.95, 0.5, 1e-6]),
        "min_p": st.sampled_from([0.0, 0.05, 0.5, 1.0]),
        "typical_p": st.sampled_from([1.0, 0.8, 0.2]),
        "repeat_penalty": st.sampled_from([1.0, 1.3, 0.8]),
        "repeat_last_n": st.sampled_from([0, 2, 64, -1]),
        "frequency_penalty": st.sampled_from([0.0, 0.5]),
        "presence_penalty": st.sampled_from([0.0, -0.5]),
        "logit_bias": st.sampled_from([{}, {0: 5.0}, {1: -math.inf, 2: -1.0}]),
    }
)


@settings(max_examples=300, deadline=None)
@given(chains, st.integers(3, 700), st.integers(0, 10**6), st.lists(st.integers(0, 2), max_size=8))
def test_the_chain_equals_its_plain_meaning(chain: dict[str, Any], n: int, seed: int, history: list[int]) -> None:
    logits = random_logits(n, seed)
    p = SamplingParams(**chain)
    np.testing.assert_allclose(Sampler(p).probabilities(logits, history), plain(logits, history, p), atol=2e-6)


@settings(max_examples=200, deadline=None)
@given(
    chains, st.lists(st.floats(-1e4, 1e4, width=32) | st.just(-math.inf), min_size=3, max_size=300), st.integers(0, 99)
)
def test_any_logits_give_a_distribution_and_an_id_in_it(chain: dict[str, Any], values: list[float], step: int) -> None:
    logits = np.array([1e4, *values], np.float32)
    kept = logits.copy()
    sampler = Sampler(SamplingParams(**chain, seed=5))
    distribution = sampler.probabilities(logits, [1, 2])
    assert abs(distribution.sum() - 1) <= 1e-6 and (distribution >= 0).all()
    assert distribution[sampler.sample(logits, [1, 2], step)] > 0
    np.testing.assert_array_equal(logits, kept)


def test_greedy_takes_the_best_and_the_lowest_id_of_equals() -> None:
    logits = np.array([1, 7, -math.inf, 7, 2], np.float32)
    assert Sampler(SamplingParams(temperature=0)).sample(logits) == 1
    assert probabilities(logits, temperature=0.0).tolist() == [0, 1, 0, 0, 0]
    assert Sampler(params(temperature=0, logit_bias={3: 0.5})).sample(logits) == 3
    assert Sampler(params(temperature=0, repeat_penalty=1.5)).sample(logits, [1]) == 3
    assert probabilities(logits, temperature=5e-324).tolist() == [0, 0.5, 0, 0.5, 0]


def test_cuts_by_hand() -> None:
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    for over, kept in (
        ({"top_k": 2}, 2),
        ({"top_p": 0.69}, 2),
        ({"top_p": 0.71}, 3),
        ({"top_p": 0.01}, 1),
        ({"min_p": 0.6}, 2),
        ({"min_p": 1.0}, 1),
        ({"top_k": 9}, 4),
    ):
        assert np.count_nonzero(probabilities(logits, **over)) == kept, over
    assert np.flatnonzero(probabilities(logits, typical_p=0.2)).tolist() == [1]  # entropy 1.28, surprise 1.20
    assert np.flatnonzero(probabilities([1.0] * 9, top_k=3)).tolist() == [0, 1, 2]
    np.testing.assert_allclose(probabilities(logits, temperature=0.5), np.array([16, 9, 4, 1]) / 30, rtol=1e-6)


def test_cuts_reach_far_into_a_flat_distribution() -> None:
    logits = random_logits(5000) / np.float32(10)
    for over in ({"top_p": 0.9}, {"typical_p": 0.6}, {"top_p": 0.999, "typical_p": 0.99}):
        p = params(**over)
        np.testing.assert_allclose(Sampler(p).probabilities(logits), plain(logits, [], p), atol=1e-9)


def test_penalties_by_hand() -> None:
    def ratios(history: list[int], **over: Any) -> list[float]:
        p = probabilities([1, -1, 0], history, **over)
        return [round(float(np.log(p[i] / p[2])), 5) for i in (0, 1)]

    assert ratios([0, 1, 1], repeat_penalty=2.0) == [0.5, -2]
    assert ratios([0, 1, 1], frequency_penalty=0.25) == [0.75, -1.5]
    assert ratios([0, 1, 1], presence_penalty=0.25) == [0.75, -1.25]
    assert ratios([0, 1, 1], presence_penalty=0.25, repeat_last_n=2) == [1, -1.25]
    assert ratios([0, 1, 1], presence_penalty=0.25, repeat_last_n=0) == [1, -1]
    assert ratios([], repeat_penalty=2.0, logit_bias={0: -1.5}) == [-0.5, -1]


def test_draws_have_the_right_frequencies() -> None:
    logits = random_logits(8, 3)
    for over in ({}, {"top_k": 5, "temperature": 0.7}, {"top_p": 0.9, "min_p": 0.02, "temperature": 1.5}):
        sampler = Sampler(params(seed=11, **over))
        n = 6000
        counts = np.bincount([sampler.sample(logits, (), step) for step in range(n)], minlength=8)
        expected = sampler.probabilities(logits) * n
        possible = expected > 0
        assert counts[~possible].sum() == 0
        chi_square = float(((counts - expected)[possible] ** 2 / expected[possible]).sum())
        assert chi_square < 27  # 7 degrees of freedom: p below 0.0004


def test_a_draw_depends_on_the_seed_and_its_number_alone() -> None:
    logits = random_logits(1000)
    first, again, other = (Sampler(SamplingParams(seed=seed, temperature=3)) for seed in (7, 7, 8))
    forth = [first.sample(logits, (), step) for step in range(50)]
    back = [again.sample(logits, (), step) for step in reversed(range(50))]
    assert forth == back[::-1]
    assert forth != [other.sample(logits, (), step) for step in range(50)]
    assert len({uniform(1, step) for step in range(1000)} | {uniform(step, 1) for step in range(1000)}) >= 1999
    assert all(0 <= uniform(2**64 - 1, step) < 1 for step in (0, 1, 2**63))


@given(st.integers(0, (1 << 128) - 1), st.tuples(*[st.integers(0, (1 << 64) - 1)] * 4))
@example((1 << 64) - 1, ((1 << 64) - 1,) * 4)
def test_random_numbers_are_those_of_philox(key: int, counter: tuple[int, int, int, int]) -> None:
    """As NumPy has it."""
    (bits,) = np.random.Philox(key=key, counter=np.array(counter, np.uint64)).random_raw(1)
    assert philox(key, counter) == int(bits)


def test_a_random_seed_can_be_read_and_used_again() -> None:
    logits = random_logits(1000)
    sampler = Sampler(SamplingParams(temperature=2))
    assert sampler.seed != Sampler(SamplingParams()).seed
    again = Sampler(SamplingParams(temperature=2, seed=sampler.seed))
    assert [sampler.sample(logits, (), i) for i in range(20)] == [again.sample(logits, (), i) for i in range(20)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, math.nan, 1], r"logits are not finite \(token 1: nan\)"),
        ([0, 1, math.inf], r"logits are not finite \(token 2: inf\)"),
        ([-math.inf] * 3, r"logits are not finite \(token 0: -inf\)"),
        ([math.nan] * 3, r"logits are not finite \(token 0: nan\)"),
    ],
)
def test_logits_that_are_not_finite_are_refused(values: list[float], message: str, temperature: float) -> None:
    with pytest.raises(BadFileError, match=message):
        Sampler(params(temperature=temperature)).sample(np.array(values, np.float32))


@pytest.mark.parametrize(
    "over",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": math.nan},
        {"typical_p": 0.0},
        {"repeat_penalty": 0.0},
        {"repeat_last_n": -2},
        {"frequency_penalty": math.inf},
        {"presence_penalty": math.nan},
        {"logit_bias": {-1: 0.0}},
        {"logit_bias": {1: math.inf}},
        {"logit_bias": {1: math.nan}},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_senseless_parameters_are_refused_by_name(over: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(over))):
        SamplingParams(**over)


def test_a_bias_must_leave_something_and_lie_in_the_vocabulary() -> None:
    logits = np.array([0, 1, -math.inf], np.float32)
    with pytest.raises(UsageError, match="id in logit_bias is 3: must be below 3"):
        Sampler(params(logit_bias={3: 1.0})).sample(logits)
    with pytest.raises(UsageError, match="forbids every token"):
        Sampler(params(logit_bias={0: -math.inf, 1: -math.inf})).sample(logits)
