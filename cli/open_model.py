"""Opens a model with the options of the command line: context, threads, prompt cache, sampling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .model_argument import Question
from .options.engine import ModelOptions
from .options.sampling import AnswerLimits
from .ui import terminal

GUIDE_NOTE = "no MODEL given: the built-in guide answers (llmlocal pull downloads other models)"

if TYPE_CHECKING:
    from ..chat_format.prompt import Prompt
    from ..constraints.grammar import Grammar
    from ..generation.events import Events
    from ..generation.prompt_cache import PromptCache
    from ..generation.sampling_params import SamplingParams
    from ..generation.session import Session


def guide(*, quiet: bool = False) -> Path:
    """The path of the built-in model; a note on a terminal says that it is used."""
    from ..guide import path

    if not quiet:
        terminal.tell_person(GUIDE_NOTE)
    return path()


def named_or_guide(model: Path | Question | None, prompt: str | None, *, quiet: bool) -> tuple[Path, str | None]:
    """The model and the prompt. A single argument that is a question goes to the built-in guide."""
    if isinstance(model, Question):
        return (Path(model), prompt) if prompt is not None else (guide(quiet=quiet), str(model))
    return (guide(quiet=quiet), prompt) if model is None else (model, prompt)


def named_or_saved(model: Path | Question | None, question: str | None) -> tuple[Path | None, str | None]:
    """The model, None where it is not named, and the first question. A single argument may be a question."""
    if isinstance(model, Question):
        return (Path(model), question) if question is not None else (None, str(model))
    return model, question


def prompt_cache(wanted: str) -> PromptCache | None:
    """The prompt cache that --prompt-cache names, None for off. Raises BadFileError for a file of another kind."""
    from ..generation.prompt_cache import PromptCache

    if wanted == "off":
        return None
    return PromptCache() if wanted == "auto" else PromptCache(Path(wanted), named=True)


@contextmanager
def opened(model: Path, model_options: ModelOptions, cache: str, *, ahead: bool = True) -> Iterator[Session]:
    """A session; problems of its prompt cache are reported at the end. `ahead` is as in `Session.open`, whose errors it
    raises.
    """
    from ..generation.session import Session

    kept = prompt_cache(cache)
    with Session.open(model, **model_options.arguments(), ahead=ahead) as session:
        session.cache = kept
        yield session
    for note in kept.notes if kept else ():
        terminal.note(note)


class Asked(NamedTuple):
    """How an answer is asked for; `logprobs` is as in `Session.answer`."""

    limits: AnswerLimits
    sampling: SamplingParams
    grammar: Grammar | None
    logprobs: int | None


def answered(
    session: Session, prompt: Prompt, asked: Asked, record: Path | None, model_options: ModelOptions
) -> Events:
    """The answer to a prompt; a `record` is written to that file. Raises as `Session.answer` and `recorded`."""
    from ..records.record import Question, recorded

    limits = asked.limits
    question = Question(limits.max_tokens, asked.sampling, limits.stop or (), limits.think_budget, asked.grammar)
    events = session.answer(prompt, **question.arguments(), logprobs=asked.logprobs)
    if record is None:
        return events
    settings = {"kv_type": model_options.kv_type.value, "weights": model_options.weights.value}
    return recorded(record, session, prompt, question, events, settings=settings)


def chosen(session: Session, given: Mapping[str, Any]) -> SamplingParams:
    """Sampling parameters: the user's, otherwise those recommended for the model. Raises UsageError for bad values."""
    from ..generation.sampling_defaults import sampling
    from ..generation.token_texts import in_ids
    from ..hub.catalog import recommended_sampling

    given = in_ids(given, session.tokenizer)
    return sampling(session.gguf.metadata, given, recommended_sampling(session.gguf.path))
