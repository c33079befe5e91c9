"""Finds saved sessions by words of their texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import LlmlocalError
from .store import SavedSession, listing

AROUND = 60  # characters that are shown before and after a word


def search(words: Sequence[str], where: Path | None = None) -> Iterator[tuple[SavedSession, str]]:
    """Sessions in which all words occur, the latest first, each with the text around the first place of one of them.

    Letters are compared without their case. Damaged sessions are left out.
    """
    wanted = [word.casefold() for word in words]
    for saved in listing(where):
        if isinstance(saved, LlmlocalError):
            continue
        texts = [saved.conversation.system or ""]
        texts += [str(m.get("content") or "") for turn in saved.conversation.turns for m in turn.messages]
        folded = [text.casefold() for text in texts]
        if all(any(word in text for text in folded) for word in wanted):
            yield (
                saved,
                next(
                    _around(text, word)
                    for text, low in zip(texts, folded, strict=True)
                    for word in wanted
                    if word in low
                ),
            )


def _around(text: str, word: str) -> str:
    at = max(0, text.casefold().find(word))
    start, end = max(0, at - AROUND), at + len(word) + AROUND
    return "…" * (start > 0) + " ".join(text[start:end].split()) + "…" * (end < len(text))
