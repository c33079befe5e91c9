"""Runs a recorded answer again, and finds the first token that is another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import BadFileError
from ..generation.events import Token
from ..generation.session import Session
from .environment import differences, environment, model_files
from .record import Record


@dataclass(frozen=True, slots=True)
class Choice:
    """A token, and its text; None where the answer had ended."""

    id: int
    text: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The result. `at` is the first token of the answer, counted from 0, that is another one; None where none is.

    `environment` are the differences to what was recorded, in words.
    """

    tokens: int
    at: int | None
    recorded: Choice | None
    now: Choice | None
    environment: tuple[str, ...]


def replay(session: Session, record: Record, notify: Callable[[int], None] = lambda _: None) -> Replay:
    """Answer the recorded prompt again, up to the first token that differs; `notify` gets the number of tokens so far.

    Raises BadFileError for a record that this model cannot answer, and what `Session.answer` raises.
    """
    events = session.answer(record.prompt, **record.how(session.tokenizer).arguments())
    found = [*differences(record.environment, record.files, environment(), model_files(session.gguf))]
    if session.lora_digest != record.lora_digest:
        found.append("what LoRA adapters add is not what was recorded")
    changed, said, at = tuple(found), 0, None
    recorded = now = None
    for event in events:
        if not isinstance(event, Token):
            continue
        if said == len(record.answer) or event.id != record.answer[said]:
            at, now = said, event.id
            break
        said += 1
        notify(said)
    if at is None and said < len(record.answer):
        at = said
    if at is not None and at < len(record.answer):
        recorded = record.answer[at]
    return Replay(said, at, _choice(session, recorded), _choice(session, now), changed)


def _choice(session: Session, id: int | None) -> Choice | None:
    if id is None:
        return None
    if id >= session.tokenizer.n_vocab:
        raise BadFileError(
            "the answer of the record has tokens that the model does not have", "--model names the one that answered"
        )
    return Choice(id, session.tokenizer.decode([id], special=True))
