"""Perplexity by llama-perplexity's method, so that figures are comparable.

The text is split into chunks of `n_ctx` tokens without overlap; each starts with BOS where the model adds it, and only
its second half is scored, so that every scored token has at least half a context before it.
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
from ..text import counted
from ..tokenizer import Tokenizer

BATCH = 64  # tokens whose logits are in memory at once: a whole chunk's may take a gigabyte


@dataclass(frozen=True, slots=True)
class Perplexity:
    """The estimate after `chunk` of `n_chunks`: exp of the mean NLL of `n_tokens` tokens, and its standard error."""

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
    """Yields the estimate after every chunk; the last one is the result. At most `chunks` are scored.

    Raises UsageError for a text shorter than one chunk, and as `Engine.check_predicts`.
    """
    outputs = min(BATCH, scored(n_ctx))
    with Session.open(path, n_ctx=n_ctx, n_threads=n_threads, max_outputs=outputs, kv_type=kv_type) as session:
        yield from score(session, text, n_ctx, chunks)


def scored(n_ctx: int) -> int:
    """Number of scored tokens in a chunk: positions n_ctx / 2 .. n_ctx - 2 each predict the next token."""
    return max(1, n_ctx - n_ctx // 2 - 1)


def score(session: Session, text: str | bytes, n_ctx: int, chunks: int | None = None) -> Iterator[Perplexity]:
    """As `perplexity`, on an open session with a context of `n_ctx` tokens."""
    cut, half = cut_in_chunks(session.tokenizer, text, n_ctx, chunks), n_ctx // 2
    engine, nlls = session.engine, list[float]()
    engine.check_predicts()
    for i, chunk in enumerate(cut):
        engine.truncate(0)
        engine.prefill(chunk[:half])
        for part, targets in scored_parts(chunk):
            nlls += token_nlls(engine.all_logits(part), targets)
        yield estimate(nlls, i + 1, len(cut))


def cut_in_chunks(tokenizer: Tokenizer, text: str | bytes, n_ctx: int, chunks: int | None = None) -> list[list[int]]:
    """The first `chunks` chunks of `n_ctx` token ids of a text, each starting with BOS where the model adds it.

    An incomplete last chunk is dropped. Raises UsageError for a text shorter than one chunk.
    """
    if n_ctx < 4:
        raise UsageError(f"chunks of {n_ctx} tokens: must be 4 or more")
    ids = tokenizer.encode(text)
    n_chunks = min(len(ids) // n_ctx, chunks or len(ids))
    if not n_chunks:
        size = counted(len(ids), "token")
        raise UsageError(f"the text has {size}, fewer than one chunk of {n_ctx}", "use a smaller --ctx, or more text")
    first, _ = tokenizer.vocab.prefix_and_suffix()
    return [[*first, *ids[i * n_ctx + len(first) : (i + 1) * n_ctx]] for i in range(n_chunks)]


def scored_parts(chunk: Sequence[int]) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Batches of at most BATCH tokens in a chunk's scored half, with the tokens to predict after each."""
    for at in range(len(chunk) // 2, len(chunk) - 1, BATCH):
        last = min(at + BATCH, len(chunk) - 1)
        yield chunk[at:last], chunk[at + 1 : last + 1]


def token_nlls(logits: NDArray[np.float32], targets: Sequence[int]) -> list[float]:
    """Negative log-likelihood in nats of each target under its row of `logits` (tokens, n_vocab) float32."""
    found = []
    for row, target in zip(
        logits, targets, strict=True
    ):  # row by row: float64 copies of all would take hundreds of megabytes
        shifted = row.astype(np.float64) - float(row.max())
        found.append(float(np.log(np.exp(shifted).sum()) - shifted[target]))
    return found


def estimate(nlls: Sequence[float], chunk: int, n_chunks: int) -> Perplexity:
    """The perplexity of token NLLs in nats, with its standard error."""
    values, n = np.array(nlls), len(nlls)
    ppl = exp(values.mean())
    error = ppl * sqrt(values.var() / (n - 1)) if n > 1 else 0.0
    return Perplexity(ppl, error, n, chunk, n_chunks)
