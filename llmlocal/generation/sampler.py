"""Logits to a token id: bias, penalties, then the stages of the chain in their order, and one draw.

The default order is that of llama.cpp. Candidates are kept as ascending ids and their logits in float64:
not in order of rank, so that two logits that swap ranks by a rounding error do not change the outcome of a draw.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .samplers.dry import dry
from .samplers.dynamic_temperature import dynamic_temperature
from .samplers.fewest import fewest
from .samplers.finite import check_finite
from .samplers.mirostat import Mirostat
from .samplers.philox import philox
from .samplers.softmax import softmax
from .samplers.top_k import TopK, top_k
from .samplers.top_n_sigma import top_n_sigma
from .samplers.xtc import xtc
from .sampling_params import OFF, SamplingParams, require

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Ids = NDArray[np.intp]
Bools = NDArray[np.bool_]

COLD, COLDEST = 1e-9, 1e-308  # temperatures: logits divided by the first are finite, and the second is not 0
DRAWN, EXCLUDED = 0, 1  # streams of random numbers


class Sampler:
    """Chooses token ids. A draw depends on nothing but the seed, the arguments and, for Mirostat, the draws before."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        self.seed = int.from_bytes(os.urandom(8), "little") if params.seed is None else params.seed
        version: Any = params.mirostat
        self._mirostat = Mirostat(version, params.mirostat_tau, params.mirostat_eta) if version else None
        self._stages = [stage for stage in params.stages if self._active(stage)]
        self._top_k: dict[int, TopK] = {}  # by the size of the vocabulary: a draft may have another

    def sample(self, logits: F32, history: Sequence[int] = (), step: int = 0) -> int:
        """Choose an id from logits (n_vocab,) float32, which are not changed.

        `history` are the ids before it, prompt included. `step` is the number of the draw in its answer: the random
        number depends only on the seed and `step`. Raises BadFileError where the logits are not finite (-inf is
        allowed for some) and UsageError for a bias outside the vocabulary.
        """
        logits = self._adjusted(logits, history, step)
        if self.params.temperature == 0:
            return check_finite(logits)
        ids, probabilities = self._survivors(logits, step)
        ends = probabilities.cumsum()  # methods: NumPy's functions take as long again to find them
        draw = uniform(self.seed, step) * ends[-1] if ids.size > 1 else 0.0
        chosen = int(ends[:-1].searchsorted(draw, side="right"))
        if self._mirostat is not None:
            self._mirostat.saw(float(probabilities[chosen]))
        return int(ids[chosen])

    def guess(self, logits: F32, history: Sequence[int], step: int) -> int:
        """As `sample`, for logits of another model: an id that this one may choose, too, by the same random number.

        With Mirostat, which counts its draws, the best one.
        """
        return self.sample(logits, history, step) if self._mirostat is None else int(logits.argmax())

    def probabilities(self, logits: F32, history: Sequence[int] = (), step: int = 0) -> F64:
        """The distribution that `sample` draws from, (n_vocab,) float64, sum 1. Raises as `sample`."""
        logits = self._adjusted(logits, history, step)
        whole = np.zeros(logits.shape, np.float64)
        if self.params.temperature == 0:
            whole[check_finite(logits)] = 1
        else:
            ids, probabilities = self._survivors(logits, step)
            whole[ids] = probabilities
        return whole

    def _adjusted(self, logits: F32, history: Sequence[int], step: int) -> F32:
        """`logits` after bias and penalties: a copy, of what was checked, if any of them is in force."""
        p = self.params
        penalize = p.repeat_last_n and (p.repeat_penalty != 1 or p.frequency_penalty or p.presence_penalty)
        if not penalize and not p.logit_bias and not p.dry_multiplier and p.ban is None:
            return logits
        check_finite(logits)
        logits = logits.copy()
        for id, bias in p.logit_bias.items():
            require(id < logits.size, "id in logit_bias", id, f"below {logits.size}, the size of the vocabulary")
            logits[id] += bias
        if p.ban is not None:
            p.ban.forbid(logits, history[len(history) - step :])
        if logits.max() == -inf:
            raise UsageError("logit_bias or a ban forbids every token that the model allows")
        if penalize:
            self._penalize(logits, Counter(history[-p.repeat_last_n :] if p.repeat_last_n > 0 else history))
        if p.dry_multiplier and p.dry_last_n:
            recent = history[-p.dry_last_n :] if p.dry_last_n > 0 else history
            for id, penalty in dry(recent, p.dry_multiplier, p.dry_base, p.dry_allowed_length, p.dry_breakers).items():
                logits[id] -= penalty
        return logits

    def _penalize(self, logits: F32, seen: Mapping[int, int]) -> None:
        """In place: repeat penalty as in CTRL (Keskar et al., arXiv:1909.05858), the others as in OpenAI's API."""
        p = self.params
        ids, counts = np.array(list(seen), np.intp), np.array(list(seen.values()), np.float64)
        old = logits[ids].astype(np.float64)
        scaled = np.where(old > 0, old / p.repeat_penalty, old * p.repeat_penalty)
        logits[ids] = scaled - counts * p.frequency_penalty - p.presence_penalty

    def _survivors(self, logits: F32, step: int) -> tuple[Ids, F64]:
        """Ids that pass all stages, ascending, at least one, and their probabilities."""
        first = self._stages[:1] == ["top_k"]
        ids, found = self._best(logits) if first else _possible(logits)
        kept = found.astype(np.float64)
        for stage in self._stages[first:]:
            if stage == "temperature":
                kept = self._heated(kept)
                continue
            chosen = self._cut(stage, kept, step)
            ids, kept = ids[chosen], kept[chosen]
        if self._mirostat is not None:
            chosen = self._mirostat.kept(kept, logits.size)
            ids, kept = ids[chosen], kept[chosen]
        return ids, softmax(kept)

    def _best(self, logits: F32) -> tuple[Ids, F32]:
        """The `top_k` best of all."""
        n = logits.size
        if n not in self._top_k:
            self._top_k[n] = TopK(self.params.top_k, n)
        return self._top_k[n].best(logits)

    def _active(self, stage: str) -> bool:
        """Whether a stage changes anything."""
        p = self.params
        if stage == "temperature":
            return p.temperature != 1 or p.dynatemp_range > 0
        name = "xtc_probability" if stage == "xtc" else stage
        return self._mirostat is None and getattr(p, name) != OFF[name]

    def _cut(self, stage: str, kept: F64, step: int) -> Ids | Bools:
        """Which of the candidates a stage keeps."""
        p = self.params
        if stage == "xtc":
            return xtc(kept, p.xtc_threshold, p.xtc_probability, uniform(self.seed, step, EXCLUDED))
        kept_of: Ids | Bools = CUTS[stage](kept, getattr(p, stage))
        return kept_of

    def _heated(self, kept: F64) -> F64:
        """Candidates at their temperature, by their distance from the best."""
        p, temperature = self.params, self.params.temperature
        if p.dynatemp_range:
            temperature = dynamic_temperature(kept, temperature, p.dynatemp_range, p.dynatemp_exponent)
        heated: F64 = kept - kept.max()
        if temperature >= COLD:
            heated /= temperature
            return heated
        with np.errstate(over="ignore"):  # at a temperature of 1e-308 only the best is left
            heated /= max(temperature, COLDEST)
        return heated


def uniform(seed: int, step: int, stream: int = DRAWN) -> float:
    """The `step`-th number in [0, 1) of a stream of `seed`; counter-based (Philox), so no earlier draw is needed."""
    return float(philox(seed, (0, 0, stream, step)) >> 11) / 2.0**53


def _possible(logits: F32) -> tuple[Ids, F32]:
    """Ascending ids of all logits that are not -inf, and these. Raises BadFileError as `check_finite`."""
    check_finite(logits)
    ids: Ids = (logits > -inf).nonzero()[0]
    return ids, logits[ids]


def _typical(logits: F64, limit: float) -> Ids:
    """Locally typical sampling (Meister et al., arXiv:2202.00666): tokens whose surprisal is nearest to the entropy."""
    probabilities = softmax(logits)
    surprisal = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return fewest(probabilities, np.abs(surprisal - probabilities @ surprisal), limit)


def _top_p(logits: F64, limit: float) -> Ids:
    """Nucleus sampling (Holtzman et al., arXiv:1904.09751): the fewest best tokens with a mass of `limit`."""
    probabilities = softmax(logits)
    return fewest(probabilities, -probabilities, limit)


def _min_p(logits: F64, limit: float) -> Bools:
    """Min-p sampling (Nguyen et al., arXiv:2407.01082): at least `limit` times as probable as the best."""
    kept: Bools = logits >= logits.max() + log(limit)
    return kept


CUTS: dict[str, Callable[[F64, Any], Any]] = {
    "top_n_sigma": top_n_sigma,
    "top_k": top_k,
    "typical_p": _typical,
    "top_p": _top_p,
    "min_p": _min_p,
}
