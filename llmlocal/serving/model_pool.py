"""The models of a server by name: loaded when they are first asked for, closed when they are not used for long."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from time import monotonic, time
from typing import Any, Literal, TypeVar

from .. import models
from ..draft.choice import AUTO
from ..embedding.settings import EmbeddingSettings
from ..errors import ResourceError, UsageError
from ..gguf.model_file import open_model
from ..text import escaped
from .http.errors import ApiError
from .settings import Settings
from .text_model import TextModel
from .vector_model import VectorModel

T = TypeVar("T")
Use = Literal["text", "vectors", "scores"]
SAID: Mapping[Use, str] = {"text": "generates text", "vectors": "gives vectors", "scores": "scores pairs of texts"}


@dataclass(slots=True)
class Entry:
    """A model that is offered, what is open of it, and the tasks of the requests that use it."""

    name: str
    path: Path
    uses: frozenset[Use]
    family: str  # the architecture
    size_label: str  # such as 7B, empty where the file does not say
    created: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    text: TextModel | None = None
    vectors: VectorModel | None = None
    users: set[asyncio.Task[Any]] = field(default_factory=set)
    used: float = 0.0  # when the last of them ended, by `monotonic`

    def use(self) -> None:
        """Keep the model open until the task that calls this has ended."""
        task = asyncio.current_task()
        assert task is not None
        self.users.add(task)
        task.add_done_callback(self._end_use)

    def _end_use(self, task: asyncio.Task[Any]) -> None:
        self.users.discard(task)
        self.used = monotonic()


class ModelPool:
    """Models that clients may name. The first one answers where a request names none."""

    def __init__(self, paths: Mapping[str, Path], settings: Settings) -> None:
        """Read the headers of all files. Assistants are left out, which `left_out` says.

        Raises NotFoundError, BadFileError, UsageError for a draft of several models, and for assistants alone.
        """
        self.settings = settings
        self.notes: list[str] = []  # of models that were closed
        self.left_out: list[str] = []
        found = {name: _offered(name, path) for name, path in paths.items()}
        self._entries = {name: entry for name, entry in found.items() if entry is not None}
        self._leave_out([name for name, entry in found.items() if entry is None])
        if settings.draft not in (None, AUTO) and sum("text" in entry.uses for entry in self.entries) > 1:
            raise UsageError("one draft cannot serve several models", "use --draft auto, which looks for one for each")

    @property
    def entries(self) -> list[Entry]:
        """All models."""
        return list(self._entries.values())

    def load_first(self) -> None:
        """Load the first model, in this thread, so that Ctrl-C ends it at once. Raises what loading raises."""
        entry = self.entries[0]
        if "text" in entry.uses:
            entry.text = TextModel(entry.name, entry.path, self.settings)
        else:
            entry.vectors = VectorModel(entry.name, entry.path, self.settings, ranks="scores" in entry.uses)
        entry.used = monotonic()

    async def text_model(self, name: str | None) -> TextModel:
        """The model called `name`, loaded, and open until the task that asks has ended.

        Raises ApiError for an unknown one, and what loading raises.
        """
        entry = self._entry(name, "text")
        async with entry.lock:
            if entry.text is None:
                entry.text = await self._loaded(entry, partial(TextModel, entry.name, entry.path, self.settings))
            entry.use()
            return entry.text

    async def vector_model(self, name: str | None, use: Use) -> VectorModel:
        """The model called `name`, loaded for vectors or for scores. Raises as `text_model`."""
        entry = self._entry(name, use)
        ranks = use == "scores"
        async with entry.lock:
            if entry.vectors is None:
                make = partial(VectorModel, entry.name, entry.path, self.settings, ranks=ranks)
                entry.vectors = await self._loaded(entry, make)
            entry.use()
            return entry.vectors

    async def unload_idle(self) -> None:
        """Close the models that were not used for `idle_unload` seconds."""
        limit = inf if self.settings.idle_unload is None else self.settings.idle_unload
        for entry in self._entries.values():
            if monotonic() - entry.used >= limit:
                await self._unload(entry)

    def loaded(self) -> Iterator[TextModel | VectorModel]:
        """The models that are open."""
        for entry in self._entries.values():
            yield from filter(None, (entry.text, entry.vectors))

    def close(self) -> None:
        """Close all models; what is still at work fails."""
        for model in self.loaded():
            model.close()
            self.notes += model.notes
        for entry in self._entries.values():
            entry.text = entry.vectors = None

    def _leave_out(self, assistants: list[str]) -> None:
        if assistants and not self._entries:
            what = f"{escaped(assistants[0])}: is an assistant, which proposes tokens for another model"
            raise UsageError(what, "serve that model, and give it to --draft")
        hint = "" if self.settings.draft else "; --draft auto finds it for its model"
        for name in assistants:
            self.left_out.append(f"{escaped(name)}: is an assistant of another model, not served by itself{hint}")

    def _entry(self, name: str | None, use: Use) -> Entry:
        able = [entry for entry in self._entries.values() if use in entry.uses]
        if name:
            if name not in self._entries:
                offered = ", ".join(self._entries)
                raise ApiError(
                    404, f"there is no model '{name[:64]}'; there are: {offered}", "model", "model_not_found"
                )
            able = [entry for entry in able if entry.name == name]
        if not able:
            said = f"'{name}' is no model that" if name else "there is no model that"
            raise ApiError(400, f"{said} {SAID[use]}", "model")
        return able[0]

    async def _loaded(self, entry: Entry, make: Callable[[], T]) -> T:
        """What `make` gives, in a thread; where memory is short, models that nobody uses are closed first."""
        for other in [e for e in self._entries.values() if e is not entry and (e.text or e.vectors)]:
            try:
                return await asyncio.to_thread(make)
            except ResourceError:
                await self._unload(other)
        return await asyncio.to_thread(make)

    async def _unload(self, entry: Entry) -> None:
        """Close a model, unless it is at work."""
        if entry.lock.locked() or entry.users:
            return
        async with entry.lock:
            opened = [model for model in (entry.text, entry.vectors) if model is not None]
            entry.text = entry.vectors = None
            if opened:
                await asyncio.to_thread(self._close, opened)

    def _close(self, opened: list[TextModel | VectorModel]) -> None:
        """Close models, and free their memory now: they are parts of cycles, which Python may keep for hours."""
        while opened:
            model = opened.pop()
            model.close()
            self.notes += model.notes
            del model
        gc.collect()


def _offered(name: str, path: Path) -> Entry | None:
    """The model in a file, not open yet; None for an assistant, which works for another model alone."""
    with open_model(path) as gguf:
        family, size = gguf.metadata.get("general.architecture"), gguf.metadata.get("general.size_label", "")
        module = models.find(family, str(path))
        if models.kind(module) == models.ASSISTANT:
            return None
        settings = EmbeddingSettings.read(gguf.metadata, str(path))
        encodes = models.kind(module) == models.ENCODER
        uses: set[Use] = {"vectors"} if encodes or settings.pooling else set()
        if settings.ranks:
            uses = {"scores"}
        elif not encodes:
            uses.add("text")
        return Entry(name, path, frozenset(uses), str(family), str(size), int(time()))
