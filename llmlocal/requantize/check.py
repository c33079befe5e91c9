"""What a quantization cost, on a page of text: both models read it, and their predictions are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import UsageError
from ..generation.session import Session
from ..measure.divergence import BATCH, Divergence, diverge
from ..measure.sample_text import sample_text

TOKENS = 256  # that are compared at most


def check(reference: Path, candidate: Path, threads: int | None, tell: Callable[[int, int], None]) -> Divergence:
    """The divergence of `candidate` from `reference` on a page of text. Raises UsageError where a folder is given."""
    if reference.is_dir():
        raise UsageError("--check runs the source, so it needs a GGUF file", "convert the folder first")
    found = Divergence()
    with (
        Session.open(reference, n_ctx=TOKENS, n_threads=threads, max_outputs=BATCH) as old,
        Session.open(candidate, n_ctx=TOKENS, n_threads=threads, max_outputs=BATCH) as new,
    ):
        ids = old.tokenizer.encode(sample_text(), add_special=True)[:TOKENS]
        for done in diverge(old.engine, new.engine, ids, found):
            tell(done, len(ids))
    return found
