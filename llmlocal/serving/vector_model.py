"""A model that is loaded for vectors of texts, or for scores of pairs; one group of texts at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ..embedding.embedder import Embedder
from ..embedding.reranker import Reranker
from ..errors import UsageError
from .settings import Settings

T = TypeVar("T")
NO_LORA = "leave out --lora, or merge the adapter: llmlocal convert SRC OUT --lora ADAPTER"


class VectorModel:
    """An open `Embedder` or `Reranker`, and the thread that runs it."""

    def __init__(self, name: str, path: Path, settings: Settings, *, ranks: bool) -> None:
        """Load the model. Raises what opening it raises, UsageError for adapters."""
        if settings.lora:
            raise UsageError("vectors and scores of a model with LoRA adapters are not supported", NO_LORA)
        self.name, self.notes = name, tuple[str, ...]()
        kind: type[Embedder] | type[Reranker] = Reranker if ranks else Embedder
        self.model = kind.open(path, n_threads=settings.n_threads, force=settings.force)
        self._thread = ThreadPoolExecutor(1, f"llmlocal-vectors-{name}")

    async def all(self, groups: Iterator[T]) -> list[T]:
        """All groups of results. Between two of them other requests get their turn, and a client's leaving is seen."""
        loop, found, end = asyncio.get_running_loop(), list[T](), object()
        while (group := await loop.run_in_executor(self._thread, next, groups, end)) is not end:
            found.append(group)  # type: ignore[arg-type]
        return found

    def values(self) -> dict[str, float]:
        """For the metrics."""
        return {}

    def close(self) -> None:
        """Free the memory."""
        self._thread.shutdown()
        self.model.close()
