"""Decisions: how likely a model is to answer with each of several options, from logits, without sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..chat_format.prompt import Prompt, marked
from ..engine import Logits
from ..errors import UsageError
from ..text import shown
from .session import Session

YES_NO = {"yes": ("Yes", "yes"), "no": ("No", "no")}  # what is asked for -> how models write it


class Decision(NamedTuple):
    """Options with their probabilities, which add up to 1."""

    probabilities: Mapping[str, float]
    prompt_tokens: int

    @property
    def answer(self) -> str:
        """The likeliest option; of equal ones the first."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def instruction(options: Sequence[str]) -> str:
    """What tells a model how to answer; it stands after the question."""
    return f"Answer only with one of: {', '.join(options)}."


def decide(session: Session, prompt: Prompt, options: Mapping[str, Sequence[str]]) -> Decision:
    """Which of the `options` a model answers to `prompt`; each can be written in several ways.

    The prompt is read once. The score of a way to write an option is the mean of the log probabilities of its tokens,
    so that long options are not at a disadvantage; the ways of an option are added up. Raises as `Session.answer`, and
    UsageError for an option that the vocabulary cannot write or that the context has no room for.
    """
    tokenizer = session.tokenizer
    ids = prompt.ids + marked(prompt.header, tokenizer)
    apart = not (prompt.chat or prompt.continues)
    lead = " " if prompt.continues else ""  # what is continued is a text
    written = {
        name: [tokenizer.encode(lead + way, add_special=False, continues=not apart) for way in ways]
        for name, ways in options.items()
    }
    for name, ways in written.items():
        if not all(ways):
            raise UsageError(f"the option {shown(name)} has no tokens in this model's vocabulary")
    longest = max(len(way) for ways in written.values() for way in ways)
    session.check_room(len(ids) + longest - 1, 0)
    engine = session.engine
    if session.cache is not None:
        session.cache.restore(engine, ids)
    first = engine.prefill(ids[engine.reuse(ids) :])
    scores = []
    for ways in written.values():
        each = []
        for way in ways:
            engine.truncate(len(ids))
            rest = engine.all_logits(way[:-1]) if len(way) > 1 else np.empty((0, first.size), np.float32)
            each.append(np.mean(_log_probabilities([first, *rest], way)))
        scores.append(np.logaddexp.reduce(each))
    engine.truncate(len(ids))
    chances = np.exp(np.array(scores) - np.logaddexp.reduce(scores))
    return Decision(dict(zip(options, map(float, chances), strict=True)), len(ids))


def _log_probabilities(logits: Sequence[Logits], ids: Sequence[int]) -> NDArray[np.float64]:
    """Log probabilities (tokens,) of ids, each by the logits (n_vocab,) before it."""
    rows = np.stack(logits).astype(np.float64)
    best = rows.max(axis=1)
    sums = np.log(np.exp(rows - best[:, None]).sum(axis=1)) + best
    chosen: NDArray[np.float64] = rows[np.arange(len(ids)), list(ids)] - sums
    return chosen
