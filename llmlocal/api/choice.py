"""What chooses the tokens of one answer: the built-in sampler, with the caller's functions before or instead of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..generation.sampler import Sampler
from ..generation.sampling_params import SamplingParams

Logits = NDArray[np.float32]


class Choice(Sampler):
    """A sampler with functions of the caller.

    `processor` is called with all ids so far and the logits (vocab,) before every choice and returns logits;
    `function` is called with both and returns an id instead of the built-in sampler. Both get copies.
    """

    def __init__(
        self,
        params: SamplingParams,
        processor: Callable[[list[int], Logits], Logits] | None = None,
        function: Callable[[list[int], Logits], int] | None = None,
    ) -> None:
        super().__init__(params)
        self._processor, self._function = processor, function

    def sample(self, logits: Logits, history: Sequence[int] = (), step: int = 0) -> int:
        """As `Sampler.sample`. Raises UsageError too where a function of the caller returns what has no meaning."""
        if self._processor:
            logits = _logits(self._processor(list(history), logits.copy()), logits.size)
        if self._function is None:
            return super().sample(logits, history, step)
        return _id(self._function(list(history), logits.copy()), logits.size)


def _logits(made: Any, n_vocab: int) -> Logits:
    if not isinstance(made, np.ndarray) or made.shape != (n_vocab,) or made.dtype.kind != "f":
        said = f"shape {made.shape} and dtype {made.dtype}" if isinstance(made, np.ndarray) else type(made).__name__
        hint = f"return an array of floats of shape ({n_vocab},): what it was given, changed"
        raise UsageError(f"the logits_processor returned {said}", hint)
    if not np.isfinite(made.max()):  # NaN if any is
        hint = "leave at least one finite value; -inf forbids a token"
        raise UsageError("the logits_processor returned NaN, +inf, or -inf for every token", hint)
    return made.astype(np.float32, copy=False)


def _id(made: Any, n_vocab: int) -> int:
    try:
        id = index(made)
    except TypeError:
        id = -1
    if not 0 <= id < n_vocab:
        raise UsageError(f"the sampler returned {made!r}", f"return a token id, 0 to {n_vocab - 1}")
    return id
