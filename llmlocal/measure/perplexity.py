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

from ..errors import UsageError
from ..generation.session import Session
from ..tokenizer import Tokenizer

BATCH = 64  # tokens whose logits are held at a time: for a large vocabulary, all of a chunk's are a gigabyte


@dataclass(frozen=True, slots=True)
class Perplexity:
    """The estimate after `chunk` of `n_chunks`: exp of the mean token_nlls of `n_tokens`, and its standard error."""

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
    cut, half = cut_in_chunks(session.tokenizer, text, n_ctx, chunks), n_ctx // 2
    engine, nlls = session.engine, list[float]()
    for i, chunk in enumerate(cut):
        engine.truncate(0)
        engine.prefill(chunk[:half])
        for part, targets in scored_parts(chunk):
            nlls += token_nlls(engine.all_logits(part), targets)
        yield estimate(nlls, i + 1, len(cut))


def cut_in_chunks(tokenizer: Tokenizer, text: str | bytes, n_ctx: int, chunks: int | None = None) -> list[list[int]]:
    """The first `chunks` pieces of `n_ctx` tokens of a text, each with BOS at its start where the model wants it.

    What is left at the end is dropped. Raises UsageError for a text below one chunk.
    """
    if n_ctx < 4:
        raise UsageError(f"chunks of {n_ctx} tokens: must be 4 or more")
    ids = tokenizer.encode(text)
    n_chunks = min(len(ids) // n_ctx, chunks or len(ids))
    if not n_chunks:
        raise UsageError(f"the text is {len(ids)} tokens, fewer than one chunk of {n_ctx}", "use a smaller --ctx")
    first, _ = tokenizer.vocab.prefix_and_suffix()
    return [[*first, *ids[i * n_ctx + len(first) : (i + 1) * n_ctx]] for i in range(n_chunks)]


def scored_parts(chunk: Sequence[int]) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """The tokens of a chunk after which a prediction is scored, at most BATCH at a time, and those that follow them."""
    for at in range(len(chunk) // 2, len(chunk) - 1, BATCH):
        last = min(at + BATCH, len(chunk) - 1)
        yield chunk[at:last], chunk[at + 1 : last + 1]


def token_nlls(logits: NDArray[np.float32], targets: Sequence[int]) -> list[float]:
    """-log of the probability that each row of `logits` (n, n_vocab) gives to its target, in nats."""
    found = []
    for row, target in zip(logits, targets, strict=True):  # by rows: float64 of all would be hundreds of megabytes
        shifted = row.astype(np.float64) - float(row.max())
        found.append(float(np.log(np.exp(shifted).sum()) - shifted[target]))
    return found


def estimate(nlls: Sequence[float], chunk: int, n_chunks: int) -> Perplexity:
    """Of nlls in nats."""
    values, n = np.array(nlls), len(nlls)
    ppl = exp(values.mean())
    error = ppl * sqrt(values.var() / (n - 1)) if n > 1 else 0.0
    return Perplexity(ppl, error, n, chunk, n_chunks)
