"""Prompts in, events out: the only place that knows the engine, the tokenizer and the sampler. Knows no terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Literal

from .. import tokenizer as tokenizers
from ..chat_format.prompt import Prompt, Request, plain, prompt
from ..engine import DEFAULT_CONTEXT, Engine, Logits, trained_context
from ..errors import PromptTooLongError, UsageError
from ..gguf import GGUFFile, open_gguf
from ..model_info.memory import memory
from ..model_info.memory_limit import check_memory
from ..text import format_bytes
from ..tokenizer import StreamDecoder, Tokenizer
from .prompt_cache import PromptCache
from .sampler import Sampler, SamplingParams
from .stop_strings import StopFilter

Reason = Literal["stop", "length", "context"]
ROOM = 256  # tokens of answer that a hint leaves room for where no limit was asked
WORK = 400e9  # multiply-adds in one part of a prompt: a few seconds, after which one may hear of it or stop it
PARTS = (32, 64, 128, 256, 512)  # tokens; the choice depends on the model alone, so that answers can be repeated


@dataclass(frozen=True, slots=True)
class Reading:
    """A part of a long prompt was read: `done` of `total` tokens."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of the answer. `data` are the bytes that it completes: none while they may be part of a stop string."""

    id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event. `reason`: an end token or a stop string, the limit of tokens, or a full context."""

    reason: Reason
    prompt_tokens: int
    reused_tokens: int
    generated_tokens: int
    load_seconds: float
    prefill_seconds: float
    decode_seconds: float
    seed: int

    @property
    def prefill_speed(self) -> float:
        """Tokens a second, of those that were read."""
        return (self.prompt_tokens - self.reused_tokens) / max(self.prefill_seconds, 1e-9)

    @property
    def decode_speed(self) -> float:
        """Tokens a second; the first token of an answer comes with the prompt."""
        return max(0, self.generated_tokens - 1) / max(self.decode_seconds, 1e-9)


Event = Reading | Piece | Finished


class Session:
    """One model and one conversation with it. Whatever prefix a prompt shares with the one before is not read again.

    The engine is loaded when the first answer is wanted: a prompt that is refused costs no kernel.
    """

    def __init__(self, gguf: GGUFFile, tokenizer: Tokenizer, n_ctx: int, load: Callable[[], Engine]) -> None:
        self.gguf, self.tokenizer, self.n_ctx = gguf, tokenizer, n_ctx
        self.load_seconds = 0.0
        self.cache: PromptCache | None = None  # where prefixes are kept when the session ends
        self.kv_type = "f16"
        self._load = load
        self._engine: Engine | None = None

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        n_ctx: int | None = None,
        n_threads: int | None = None,
        max_outputs: int = 1,
        kv_type: str = "f16",
        force: bool = False,
    ) -> Session:
        """A model's file with its tokenizer; `kv_type` is the kind of cache. Raises LlmlocalError's subclasses.

        The engine is not loaded where memory does not suffice, unless `force`.
        """
        gguf = open_gguf(path)
        try:
            tokenizer = tokenizers.load(gguf.metadata)
            n_ctx = n_ctx or min(trained_context(gguf), DEFAULT_CONTEXT)
        except BaseException:
            gguf.close()
            raise

        def load() -> Engine:
            if not force:
                check_memory(gguf.metadata, gguf.tensors, n_ctx, kv_type)
            return Engine.open(path, n_ctx=n_ctx, n_threads=n_threads, max_outputs=max_outputs, kv_type=kv_type)

        session = cls(gguf, tokenizer, n_ctx, load)
        session.kv_type = kv_type
        return session

    @property
    def engine(self) -> Engine:
        """The engine, loaded the first time. Raises as `Engine.open` does."""
        if self._engine is None:
            clock = perf_counter()
            self._engine = self._load()
            self.load_seconds = perf_counter() - clock
        return self._engine

    @property
    def used(self) -> int:
        """Tokens in the context."""
        return self._engine.length() if self._engine is not None else 0

    def close(self) -> None:
        """Keep the prefix where there is a cache for it, end the threads, unmap the file."""
        try:
            if self._engine is not None and self.cache is not None:
                self.cache.store(self._engine)
        finally:
            if self._engine is not None:
                self._engine.close()
            self.gguf.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def prompt(self, request: Request) -> Prompt:
        """What this model is to read for a request. Raises as `prompt.prompt` does."""
        return prompt(request, self.tokenizer, self.gguf.metadata)

    def complete(
        self,
        text: str | bytes,
        *,
        max_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[Event]:
        """As `answer`, for a text that is to be continued. Raises UsageError for an empty one that has no BOS."""
        return self.answer(plain(text, self.tokenizer), max_tokens=max_tokens, sampling=sampling, stop=stop)

    def answer(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        stop: Sequence[str] = (),
        named: Container[int] = (),
        insert: deque[int] | None = None,
    ) -> Iterator[Event]:
        """The events of an answer: a `Piece` a token, then `Finished`. No `max_tokens`: until the model ends.

        Control tokens in `named` are part of the text. What is put into `insert` while the answer is made is said next,
        in place of what the model would say.

        Raises at once PromptTooLongError, UsageError for a limit without meaning, and what loading the engine raises;
        later BadFileError where the model's output is no number.
        """
        if max_tokens is not None and max_tokens < 0:
            raise UsageError(f"max_tokens is {max_tokens}: must be 0 or more")
        self._check_room(len(prompt.ids), max_tokens)
        stops = StopFilter([text.encode("utf-8", "surrogateescape") for text in stop])
        decoder = StreamDecoder(self.tokenizer, continues=prompt.continues, named=named)
        sampler = Sampler(sampling or SamplingParams())
        return self._generate(
            self.engine, prompt.ids, max_tokens, sampler, decoder, stops, deque() if insert is None else insert
        )

    def _check_room(self, n: int, max_tokens: int | None) -> None:
        """Raises PromptTooLongError where `n` tokens of prompt do not fit."""
        if n <= self.n_ctx:
            return
        message = f"the prompt is {n} tokens, {n - self.n_ctx} more than the context of {self.n_ctx}"
        fits, metadata = n + (ROOM if max_tokens is None else max_tokens), self.gguf.metadata
        takes = format_bytes(memory(metadata, self.gguf.tensors, fits, self.kv_type).total)
        trained = metadata.get(f"{metadata.get('general.architecture')}.context_length")
        if isinstance(trained, int) and fits > trained:
            hint = f"shorten it; --ctx {fits} fits and takes {takes} of memory, but the model knows only {trained}"
            raise PromptTooLongError(message, hint)
        raise PromptTooLongError(message, f"--ctx {fits} fits and takes {takes} of memory")

    def _generate(
        self,
        engine: Engine,
        ids: list[int],
        max_tokens: int | None,
        sampler: Sampler,
        decoder: StreamDecoder,
        stops: StopFilter,
        insert: deque[int],
    ) -> Iterator[Event]:
        history, n = list(ids), 0
        reason: Reason | None = None
        clock = perf_counter()
        if self.cache is not None:
            self.cache.restore(engine, ids)
        reused = engine.reuse(ids)
        logits = yield from self._read(engine, ids, reused)
        prefill, decode = perf_counter() - clock, 0.0
        while n != max_tokens:
            clock = perf_counter()
            if n:
                logits = engine.decode(history[-1])
            id = insert.popleft() if insert else sampler.sample(logits, history, n)
            decode += (perf_counter() - clock) * bool(n)
            history.append(id)
            n += 1
            reason = self._reason(id, n, max_tokens)
            data = b"" if reason == "stop" else decoder.push(id)
            data = stops.push(data + (decoder.flush() if reason else b""), final=reason is not None)
            reason = "stop" if stops.hit else reason
            yield Piece(id, data)
            if reason:
                break
        yield Finished(reason or "length", len(ids), reused, n, self.load_seconds, prefill, decode, sampler.seed)

    def _read(self, engine: Engine, ids: list[int], start: int) -> Generator[Event, None, Logits]:
        """Read a prompt from token `start` on in parts, between which the caller can say so or stop."""
        weights = sum(tensor.rows * tensor.k for tensor in self.gguf.tensors.values())
        part = max((n for n in PARTS if n * weights <= WORK), default=PARTS[0])
        for at in range(start, len(ids), part):
            logits = engine.prefill(ids[at : at + part])
            if at + part < len(ids):
                yield Reading(at + part, len(ids))
        return logits

    def _reason(self, id: int, n: int, max_tokens: int | None) -> Reason | None:
        """Why the `n`-th token, `id`, is the last one, if it is."""
        if id in self.tokenizer.stop_ids:
            return "stop"
        if n == max_tokens:
            return "length"
        return "context" if self.engine.length() >= self.n_ctx else None
