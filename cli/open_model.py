"""A model opened as the command line says: context, threads, prompt cache, sampling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .model_argument import Question
from .ui import terminal

GUIDE_NOTE = "no MODEL given: the built-in guide answers (llmlocal pull downloads other models)"

if TYPE_CHECKING:
    from ..generation.prompt_cache import PromptCache
    from ..generation.sampler import SamplingParams
    from ..generation.session import Session


def guide(*, quiet: bool = False) -> Path:
    """The built-in model, for those who name none; a terminal is told so."""
    from ..guide import path

    if not quiet:
        terminal.tell_person(GUIDE_NOTE)
    return path()


def named_or_guide(model: Path | Question | None, prompt: str | None, *, quiet: bool) -> tuple[Path, str | None]:
    """The model and the prompt that are meant. What stands alone and is no model is a prompt for the guide."""
    if isinstance(model, Question):
        return (Path(model), prompt) if prompt is not None else (guide(quiet=quiet), str(model))
    return (guide(quiet=quiet), prompt) if model is None else (model, prompt)


def prompt_cache(wanted: str) -> PromptCache | None:
    """Where prefixes are kept; None for nowhere. Raises BadFileError for a file of another kind."""
    from ..generation.prompt_cache import PromptCache

    if wanted == "off":
        return None
    return PromptCache() if wanted == "auto" else PromptCache(Path(wanted), named=True)


@contextmanager
def opened(
    model: Path, n_ctx: int | None, n_threads: int | None, *, kv_type: str, force: bool, cache: str
) -> Iterator[Session]:
    """A session; what went wrong with its prompt cache is said at the end. Raises as `Session.open`."""
    from ..generation.session import Session

    kept = prompt_cache(cache)
    with Session.open(model, n_ctx=n_ctx, n_threads=n_threads, kv_type=kv_type, force=force) as session:
        session.cache = kept
        yield session
    for note in kept.notes if kept else ():
        terminal.note(note)


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """What the user says of sampling. Raises UsageError for values without meaning, before a model is looked for."""
    from ..generation.sampling_defaults import check

    check(given)
    return given


def chosen(session: Session, given: Mapping[str, Any]) -> SamplingParams:
    """How to sample: as the user says, else as the model recommends. Raises UsageError for values without meaning."""
    from ..generation.sampling_defaults import sampling

    return sampling(session.gguf.metadata, given, recommended(session))


def recommended(session: Session) -> dict[str, Any]:
    """What the catalog recommends for a model, by the names of `SamplingParams`."""
    from dataclasses import asdict

    from ..hub.catalog import entry_for

    entry = entry_for(session.gguf.path)
    found = {key: value for key, value in asdict(entry.sampling).items() if value is not None} if entry else {}
    return {"temperature" if key == "temp" else key: value for key, value in found.items()}
