"""What a quantization costs in quality: source and result read a page of text, and their predictions are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from .. import models
from ..errors import UsageError
from ..generation.session import Session
from ..measure.divergence import BATCH, Divergence, diverge
from ..measure.sample_text import sample_text

TOKENS = 256  # compared at most


class Source(Protocol):
    """The model that is quantized: its path, and the values of its metadata."""

    @property
    def path(self) -> Path: ...
    @property
    def values(self) -> Mapping[str, Any]: ...


def require_comparable(source: Source) -> None:
    """Raises UsageError, before anything is written, where `check` could not run `source`."""
    if source.path.is_dir():
        raise UsageError("--check runs SRC, so SRC must be a GGUF file", "llmlocal convert the folder first")
    arch = source.values.get("general.architecture")
    if models.kind(models.find(arch, str(source.path))) != models.DECODER or models.ranks(source.values):
        who = "a reranker" if models.ranks(source.values) else arch
        message = f"--check compares predictions of the next token of a text, which {who} does not make"
        raise UsageError(f"{source.path}: {message}", "leave out --check")


def check(reference: Path, candidate: Path, threads: int | None, tell: Callable[[int, int], None]) -> Divergence:
    """The divergence of `candidate` from `reference` on a page of text; `tell` gets tokens done and their number."""
    found = Divergence()
    with (
        Session.open(reference, n_ctx=TOKENS, n_threads=threads, max_outputs=BATCH) as old,
        Session.open(candidate, n_ctx=TOKENS, n_threads=threads, max_outputs=BATCH) as new,
    ):
        ids = old.tokenizer.encode(sample_text(), add_special=True)[:TOKENS]
        for done in diverge(old.engine, new.engine, ids, found):
            tell(done, len(ids))
    return found
