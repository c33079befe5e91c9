"""Texts in the order of their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .model import to_json


def ranked(
    model: Path, query: str, texts: Sequence[bytes], scores: Sequence[float], top: int | None, *, as_json: bool
) -> Iterator[str]:
    """Lines for the `top` best texts: score and text on one line, or one JSON object for all of them."""
    order = sorted(range(len(texts)), key=lambda i: (-scores[i], i))[:top]
    shown = [(i, scores[i], texts[i].decode("utf-8", "replace")) for i in order]
    if as_json:
        results = [{"index": i, "score": score, "text": text} for i, score, text in shown]
        yield to_json(model=str(model), query=query, results=results)
        return
    for _, score, text in shown:
        yield f"{score:9.4f}  {' '.join(text.splitlines())}"
