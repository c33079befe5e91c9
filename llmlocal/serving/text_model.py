"""A model that is loaded to generate text: its scheduler, and the prompts that its template and tokenizer make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from ..chat_format.chat_template import ChatTemplate, choose, suggested
from ..chat_format.prompt import Prompt, answers_apart, conversation, plain
from ..chat_format.thinking import Think, can_think
from ..errors import ResourceError, UsageError
from ..generation.prompt_cache import PromptCache
from ..generation.sampling_defaults import sampling
from ..generation.sampling_params import SamplingParams
from ..generation.session import Session
from ..hub.catalog import recommended_sampling
from ..scheduler.scheduler import Scheduler
from ..tokenizer import Tokenizer
from .answers import Outbox
from .llamacpp.fill_in_middle import fill_in_middle
from .settings import Settings

T = TypeVar("T")


class TextModel:
    """An open model. Templates and tokenizers run in one thread of their own, so that answers go on meanwhile."""

    def __init__(self, name: str, path: Path, settings: Settings) -> None:
        """Load the model. Raises what `Session.open` and loading the engine raise."""
        self.name, self._settings = name, settings
        self.session = Session.open(
            path, n_ctx=settings.n_ctx, n_threads=settings.n_threads, n_seqs=settings.parallel,
            kv_type=settings.kv_type, weights=settings.weights,
            speculate=settings.speculate, draft=settings.draft, lora=settings.lora, force=settings.force,
        )  # fmt: skip
        try:
            self._recommended = recommended_sampling(path)
            self.cache = PromptCache() if settings.prompt_cache else None
            self.outbox = Outbox()
            self.scheduler = Scheduler(
                self.session, queue=settings.queue, cache=self.cache, delivered=self.outbox.flush
            )
        except ResourceError as error:
            self.session.close()
            raise ResourceError(str(error), "use a smaller --ctx or --parallel") from None
        except BaseException:
            self.session.close()
            raise
        self._thread = ThreadPoolExecutor(1, f"llmlocal-prompts-{name}")
        self._template = cache(self._choose_template)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self.session.tokenizer

    async def prepared(self, make: Callable[[], T]) -> T:
        """The result of `make`, called in the thread for prompts."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, make)

    async def chat_prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        think: Think = "auto",
        effort: str | None = None,
    ) -> Prompt:
        """The prompt for a conversation. Raises UsageError where the model cannot chat or knows no tools."""
        return await self.prepared(partial(self._chat_prompt, messages, tools, think, effort))

    async def plain_prompt(self, text: str) -> Prompt:
        """The prompt for a text to be continued. Raises UsageError for an empty one where there is no BOS."""
        return await self.prepared(partial(self._plain_prompt, text))

    async def fill_prompt(self, before: str, after: str, files: Sequence[tuple[str, str]] = ()) -> Prompt:
        """The prompt for the text between two others. Raises UsageError where the model was not trained for that."""
        self.session.check_size(before, after, *(text for _, text in files))
        return await self.prepared(partial(fill_in_middle, self.tokenizer, before, after, files))

    def ids_prompt(self, ids: Sequence[int]) -> Prompt:
        """The prompt of token ids. Raises UsageError for ids outside the vocabulary."""
        if not ids or min(ids) < 0 or max(ids) >= self.tokenizer.n_vocab:
            raise UsageError(f"a prompt of token ids needs one or more, 0 to {self.tokenizer.n_vocab - 1}")
        return Prompt("", list(ids), True)

    def template(self, *, tools: bool = False) -> ChatTemplate:
        """The chat template. Raises UsageError where there is none."""
        found = self._template(tools)
        if found is None:
            name = suggested(self.session.gguf.metadata, self.tokenizer) or "chatml"
            hint = f"start the server with --template {name}"
            if answers_apart(self.session.gguf.metadata):
                hint = "its encoder reads one text and answers it: ask for a completion"
            raise UsageError("the model has no chat template", hint)
        return found

    def sampling(self, given: Mapping[str, Any]) -> SamplingParams:
        """Sampling parameters: the client's, otherwise the model's. Raises UsageError for bad values."""
        return sampling(self.session.gguf.metadata, given, self._recommended)

    @property
    def can_chat(self) -> bool:
        """Whether there is a chat template."""
        return self._template(False) is not None

    @property
    def can_think(self) -> bool:
        """Whether the chat template supports thinking."""
        found = self._template(False)
        return found is not None and can_think(found.source)

    def values(self) -> dict[str, float]:
        """For the metrics."""
        counts, scheduler = self.scheduler.counts, self.scheduler
        ngram, draft = self.session.speculation.decision.totals
        return {
            "prompt_tokens_total": counts.prompt_tokens,
            "reused_tokens_total": counts.reused_tokens,
            "read_again_tokens_total": counts.read_again_tokens,
            "generated_tokens_total": counts.generated_tokens,
            "proposed_tokens_total": counts.proposed_tokens,
            "accepted_tokens_total": counts.accepted_tokens,
            "draft_proposed_tokens_total": draft.proposed,
            "draft_accepted_tokens_total": draft.accepted,
            "ngram_saved_seconds": ngram.saved,
            "draft_saved_seconds": draft.saved,
            "steps_total": counts.steps,
            "busy_sequences": scheduler.busy,
            "waiting_requests": scheduler.waiting,
        }

    def close(self) -> None:
        """Fail what is still at work, and free the memory."""
        self._thread.shutdown()  # first: prompts that are being made read the open file
        self.scheduler.close()

    @property
    def notes(self) -> Sequence[str]:
        """For whoever runs the server: problems of the prompt cache, and why there is no draft."""
        return [*self.session.notes, *(self.cache.notes if self.cache is not None else ())]

    def _choose_template(self, tools: bool) -> ChatTemplate | None:
        return choose(self.session.gguf.metadata, self.tokenizer, self._settings.template, tools=tools)

    def _chat_prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        think: Think,
        effort: str | None,
    ) -> Prompt:
        template = self.template(tools=bool(tools))
        self.session.check_size(*(m["content"] for m in messages if isinstance(m.get("content"), str)))
        return conversation(messages, template, self.tokenizer, tools=list(tools) or None, think=think, effort=effort)

    def _plain_prompt(self, text: str) -> Prompt:
        self.session.check_size(text)
        return plain(text, self.tokenizer, self.session.gguf.metadata)
