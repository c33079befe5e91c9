"""How fast a model answers a question with proposed tokens, and what these do for it."""

from __future__ import annotations

from pathlib import Path

from ..chat_format.prompt import PromptRequest
from ..generation.events import Finished
from ..generation.sampling_params import SamplingParams
from ..generation.session import Session
from ..speculation.ngram import Text
from ..speculation.speculation import ProposerReport
from .sample_text import sample_text

QUESTION = "Summarize this text in five sentences:\n\n"
CHARACTERS, ROOM = 2400, 64  # of the text; tokens for the question itself
TEMPERATURE = 0.7


def answers(
    path: Path, n: int, repeats: int, n_threads: int | None, kv_type: str, weights: str
) -> tuple[int, tuple[float, ...], ProposerReport]:
    """Answers of at most `n` tokens to a question on the sample text, each with a seed of its own, after a first one
    that does not count.

    Returns the number of threads, the tokens/s of each answer, and what was proposed in all of them, with their mean
    gain. No answer is proposed from one before it. Raises as `Session.open` and `Session.answer`.
    """
    with Session.open(path, n_threads=n_threads, kv_type=kv_type, weights=weights, speculate="auto") as session:
        characters = max(min(CHARACTERS, session.n_ctx - n - ROOM), 0)  # a token has at least one
        prompt = session.prompt(PromptRequest((QUESTION + sample_text()[:characters]).encode()))
        ends = list[Finished]()
        for seed in range(1 + repeats):
            session.speculation.decision.earlier.text = Text()
            sampling = SamplingParams(temperature=TEMPERATURE, seed=seed)
            *_, end = session.answer(prompt, max_tokens=n, sampling=sampling)
            assert isinstance(end, Finished)
            ends.append(end)
        reports = [end.speculation for end in ends[1:]]
        gain = sum(report.gain for report in reports) / repeats
        counts = sum(report.proposed for report in reports), sum(report.accepted for report in reports)
        return session.engine.n_threads, tuple(end.decode_speed for end in ends[1:]), ProposerReport(*counts, gain)
