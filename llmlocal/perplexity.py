"""Perplexity by llama-perplexity's method, so that figures compare. Knows no terminal.

The text is cut into chunks of `n_ctx` tokens that do not overlap; each starts with BOS where the model wants it, and
only its second half is scored, so that every score has at least half a context before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .session import Session

BATCH = 64  # tokens whose logits are held at a time: for a large vocabulary, all of a chunk's are a gigabyte


@dataclass(frozen=True, slots=True)
class Perplexity:
    """The estimate after `chunk` of `n_chunks`: exp of the mean surprise of `n_tokens`, and its standard error."""

    value: float
    error: float
    n_tokens: int
    chunk: int
    n_chunks: int


def perplexity(
    path: Path | str,
    text: str | bytes,
    *,
    n_ctx: int = 512,
    chunks: int | None = None,
    n_threads: int | None = None,
    kv_type: str = "f16",
) -> Iterator[Perplexity]:
    """The estimate after every chunk; the last one is the result. At most `chunks` are scored.

    Raises UsageError for a text below one chunk.
    """
    outputs = min(BATCH, scored(n_ctx))
    with Session.open(path, n_ctx=n_ctx, n_threads=n_threads, max_outputs=outputs, kv_type=kv_type) as session:
        yield from score(session, text, n_ctx, chunks)


def scored(n_ctx: int) -> int:
    """How many tokens of a chunk are scored: positions n_ctx / 2 .. n_ctx - 2 each predict the next one."""
    return max(1, n_ctx - n_ctx // 2 - 1)


def score(session: Session, text: str | bytes, n_ctx: int, chunks: int | None = None) -> Iterator[Perplexity]:
    """As `perplexity`, on a session whose engine has `n_ctx` positions."""
    if n_ctx < 4:
        raise UsageError(f"perplexity over a context of {n_ctx}: must be 4 or more")
    tokenizer, half = session.tokenizer, n_ctx // 2
    ids = tokenizer.encode(text)
    n_chunks = min(len(ids) // n_ctx, chunks or len(ids))
    if not n_chunks:
        raise UsageError(f"the text is {len(ids)} tokens, fewer than one chunk of {n_ctx}", "use a smaller --ctx")
    first, _ = tokenizer.vocab.prefix_and_suffix()
    engine, surprises = session.engine, list[float]()
    for i in range(n_chunks):
        chunk = ids[i * n_ctx : (i + 1) * n_ctx]
        chunk[: len(first)] = first
        engine.truncate(0)
        engine.prefill(chunk[:half])
        for at in range(half, n_ctx - 1, BATCH):
            part = chunk[at : min(at + BATCH, n_ctx - 1)]
            surprises += surprise(engine.all_logits(part), chunk[at + 1 : at + 1 + len(part)])
        yield _estimate(surprises, i + 1, n_chunks)


def surprise(logits: NDArray[np.float32], targets: Sequence[int]) -> list[float]:
    """-log of the probability that each row of `logits` (n, n_vocab) gives to its target, in nats."""
    found = []
    for row, target in zip(logits, targets, strict=True):  # by rows: float64 of all would be hundreds of megabytes
        shifted = row.astype(np.float64) - float(row.max())
        found.append(float(np.log(np.exp(shifted).sum()) - shifted[target]))
    return found


def _estimate(surprises: list[float], chunk: int, n_chunks: int) -> Perplexity:
    values, n = np.array(surprises), len(surprises)
    ppl = exp(values.mean())
    error = ppl * sqrt(values.var() / (n - 1)) if n > 1 else 0.0
    return Perplexity(ppl, error, n, chunk, n_chunks)
