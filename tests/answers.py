"""Answers to prompts that are ids already, for the tests of speculation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmlocal.chat_format.prompt import Prompt
from llmlocal.generation.events import Finished, Token
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session

CONTEXT, ANSWER = 420, 40


def answered(session: Session, ids: Sequence[int], params: SamplingParams, **more: Any) -> tuple[list[Any], Finished]:
    """The tokens of an answer, and its end; the engine then holds all of them but the last."""
    *tokens, end = session.answer(Prompt("", [*ids], True), max_tokens=ANSWER, sampling=params, **more)
    assert isinstance(end, Finished)
    made = [token for token in tokens if isinstance(token, Token)]
    assert session.engine.history() == [*ids, *(token.id for token in made)][:-1]
    return made, end
