"""Logits to a token id: bias, penalties, truncation (top-k, typical, top-p, min-p), temperature, one draw.

Stages run in the order of llama.cpp's default chain. Candidates are kept as ascending ids and their logits in float64:
not in order of rank, so that two logits that swap ranks by a rounding error do not change the outcome of a draw.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, log

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError, UsageError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Ids = NDArray[np.intp]
Bools = NDArray[np.bool_]

FIRST_SORTED = 256  # candidates that are sorted at first, where a stage needs an order


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose a token. Raises UsageError for invalid values.

    `temperature` 0 is greedy. `top_k` 0, `top_p` 1, `typical_p` 1 and `min_p` 0 turn these stages off. Penalties count
    the last `repeat_last_n` ids of the history, -1 for all of it. `logit_bias` is added to the logits of ids; -inf
    forbids one.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.temperature < inf, "temperature", self.temperature, "0 or more")
        _require(self.top_k >= 0, "top_k", self.top_k, "0 (off) or more")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        _require(0 <= self.min_p <= 1, "min_p", self.min_p, "between 0 and 1")
        _require(0 < self.typical_p <= 1, "typical_p", self.typical_p, "above 0 and at most 1")
        _require(0.01 <= self.repeat_penalty <= 100, "repeat_penalty", self.repeat_penalty, "between 0.01 and 100")
        _require(self.repeat_last_n >= -1, "repeat_last_n", self.repeat_last_n, "-1 (all) or more")
        for name in ("frequency_penalty", "presence_penalty"):
            _require(abs(getattr(self, name)) <= 100, name, getattr(self, name), "between -100 and 100")
        _require(self.seed is None or 0 <= self.seed < 2**64, "seed", self.seed, "between 0 and 2^64 - 1")
        for id, bias in self.logit_bias.items():
            _require(id >= 0, "id in logit_bias", id, "0 or more")
            _require(abs(bias) <= 1e6 or bias == -inf, f"logit_bias of token {id}", bias, "within 1e6, or -inf")


class Sampler:
    """Chooses token ids. Its only state is the seed: a draw depends on nothing but the arguments."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        self.seed = secrets.randbits(64) if params.seed is None else params.seed

    def sample(self, logits: F32, history: Sequence[int] = (), step: int = 0) -> int:
        """Choose an id from logits (n_vocab,) float32, which are not changed.

        `history` are the ids before it, prompt included. `step` is the number of the draw in its answer: the random
        number depends only on the seed and `step`. Raises BadFileError where the logits are not finite (-inf is
        allowed for some) and UsageError for a bias outside the vocabulary.
        """
        logits = self._adjusted(logits, history)
        if self.params.temperature == 0:
            return int(logits.argmax())
        ids, probabilities = self._survivors(logits)
        if ids.size == 1:
            return int(ids[0])
        ends = np.cumsum(probabilities)
        return int(ids[np.searchsorted(ends[:-1], uniform(self.seed, step) * ends[-1], side="right")])

    def probabilities(self, logits: F32, history: Sequence[int] = ()) -> F64:
        """The distribution that `sample` draws from, (n_vocab,) float64, sum 1. Raises as `sample`."""
        logits = self._adjusted(logits, history)
        whole = np.zeros(logits.shape, np.float64)
        if self.params.temperature == 0:
            whole[logits.argmax()] = 1
        else:
            ids, probabilities = self._survivors(logits)
            whole[ids] = probabilities
        return whole

    def _adjusted(self, logits: F32, history: Sequence[int]) -> F32:
        """`logits`, checked, after bias and penalties: a copy if any of them is in force."""
        _check(logits)
        p = self.params
        penalize = p.repeat_last_n and (p.repeat_penalty != 1 or p.frequency_penalty or p.presence_penalty)
        if not penalize and not p.logit_bias:
            return logits
        logits = logits.copy()
        for id, bias in p.logit_bias.items():
            _require(id < logits.size, "id in logit_bias", id, f"below {logits.size}, the size of the vocabulary")
            logits[id] += bias
        if logits.max() == -inf:
            raise UsageError("logit_bias forbids every token that the model allows")
        if penalize:
            self._penalize(logits, Counter(history[-p.repeat_last_n :] if p.repeat_last_n > 0 else history))
        return logits

    def _penalize(self, logits: F32, seen: Mapping[int, int]) -> None:
        """In place: repeat penalty as in CTRL (Keskar et al., arXiv:1909.05858), the others as in OpenAI's API."""
        p = self.params
        ids, counts = np.array(list(seen), np.intp), np.array(list(seen.values()), np.float64)
        old = logits[ids].astype(np.float64)
        scaled = np.where(old > 0, old / p.repeat_penalty, old * p.repeat_penalty)
        logits[ids] = scaled - counts * p.frequency_penalty - p.presence_penalty

    def _survivors(self, logits: F32) -> tuple[Ids, F64]:
        """Ids that pass all stages, ascending, at least one, and their probabilities."""
        p = self.params
        ids = _top_k(logits, p.top_k)
        kept = logits[ids].astype(np.float64)
        for active, cut, limit in (
            (p.typical_p < 1, _typical, p.typical_p),
            (p.top_p < 1, _top_p, p.top_p),
            (p.min_p > 0, _min_p, p.min_p),
        ):
            if active:
                chosen = cut(kept, limit)
                ids, kept = ids[chosen], kept[chosen]
        return ids, softmax(kept, p.temperature)


def softmax(logits: F64, temperature: float = 1.0) -> F64:
    """Probabilities (n,) float64 of finite logits (n,) at a temperature above 0."""
    with np.errstate(over="ignore", under="ignore"):  # at a temperature of 1e-308 only the best is left
        powers: F64 = np.exp((logits - logits.max()) / temperature)
    powers /= powers.sum()
    return powers


def uniform(seed: int, step: int) -> float:
    """The `step`-th number in [0, 1) of the stream `seed`; counter-based (Philox), so no earlier draw is needed."""
    (bits,) = np.random.Philox(key=seed, counter=[0, 0, 0, step]).random_raw(1)
    return float(int(bits) >> 11) / 2.0**53


def _top_k(logits: F32, k: int) -> Ids:
    """Ascending ids of the `k` best logits (0: all) that are not -inf; of equal ones the lower ids."""
    if 0 < k < logits.size:
        ids = np.flatnonzero(logits >= np.partition(logits, logits.size - k)[logits.size - k])
        if ids.size > k:  # more than k because of equal logits
            ids = np.sort(ids[np.argsort(-logits[ids], kind="stable")[:k]])
    else:
        ids = np.arange(logits.size)
    return ids[logits[ids] > -inf]


def _typical(logits: F64, limit: float) -> Ids:
    """Locally typical sampling (Meister et al., arXiv:2202.00666): tokens whose surprisal is nearest to the entropy."""
    probabilities = softmax(logits)
    surprisal = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return _fewest(probabilities, np.abs(surprisal - probabilities @ surprisal), limit)


def _top_p(logits: F64, limit: float) -> Ids:
    """Nucleus sampling (Holtzman et al., arXiv:1904.09751): the fewest best tokens with a mass of `limit`."""
    probabilities = softmax(logits)
    return _fewest(probabilities, -probabilities, limit)


def _min_p(logits: F64, limit: float) -> Bools:
    """Min-p sampling (Nguyen et al., arXiv:2407.01082): at least `limit` times as probable as the best."""
    kept: Bools = logits >= logits.max() + log(limit)
    return kept


def _fewest(probabilities: F64, keys: F64, limit: float) -> Ids:
    """Ascending indices of the fewest entries with the smallest keys whose mass reaches `limit`, at least one.

    Sorts only the smallest keys, and more of them where their mass is too small.
    """
    few = FIRST_SORTED
    while few < keys.size:
        indices = np.flatnonzero(keys <= np.partition(keys, few)[few])
        if probabilities[indices].sum() > limit:
            break
        few *= 8
    else:
        indices = np.arange(keys.size)
    indices = indices[np.argsort(keys[indices], kind="stable")]
    return np.sort(indices[: np.searchsorted(np.cumsum(probabilities[indices]), limit) + 1])


def _check(logits: F32) -> None:
    best = logits.max()  # NaN if any is
    if not isfinite(best):
        bad = int(np.flatnonzero(np.isnan(logits) | (logits == inf))[0]) if best != -inf else 0
        raise BadFileError(
            f"logits are not finite (token {bad}: {logits[bad]}): the model file is damaged",
            "run `llmlocal verify` on it",
        )


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise UsageError(f"{name} is {value}: must be {wanted}")
