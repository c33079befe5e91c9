"""Text in, events out: the only place that knows the engine, the tokenizer and the sampler. Knows no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Literal

from . import tokenizer as tokenizers
from .engine import Engine
from .errors import PromptTooLongError, UsageError
from .gguf import open_gguf
from .sampler import Sampler, SamplingParams
from .stops import StopFilter
from .tokenizer import StreamDecoder, Tokenizer

Reason = Literal["stop", "length", "context"]
ROOM = 256  # tokens of answer that a hint leaves room for where no limit was asked


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
    prefill_seconds: float
    decode_seconds: float
    seed: int

    @property
    def prefill_speed(self) -> float:
        """Prompt tokens a second, without those that were still in the cache."""
        return (self.prompt_tokens - self.reused_tokens) / max(self.prefill_seconds, 1e-9)

    @property
    def decode_speed(self) -> float:
        """Tokens of the answer a second, sampling included; the first one belongs to the prompt. 0 for none."""
        return max(0, self.generated_tokens - 1) / max(self.decode_seconds, 1e-9)


class Session:
    """One model and one conversation with it. Whatever prefix a prompt shares with the one before is not read again."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer) -> None:
        self.engine, self.tokenizer = engine, tokenizer

    @classmethod
    def open(
        cls, path: Path | str, *, n_ctx: int | None = None, n_threads: int | None = None, max_outputs: int = 1
    ) -> Session:
        """Engine and tokenizer of one GGUF. Raises LlmlocalError's subclasses, as `Engine.open` does."""
        with open_gguf(path) as gguf:  # opened twice: a bad vocabulary is refused before kernels are compiled
            tokenizer = tokenizers.load(gguf.metadata)
        return cls(Engine.open(path, n_ctx=n_ctx, n_threads=n_threads, max_outputs=max_outputs), tokenizer)

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def complete(
        self,
        prompt: str | bytes,
        *,
        max_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[Piece | Finished]:
        """The events of a raw completion: a `Piece` a token, then `Finished`. No `max_tokens`: until the model ends.

        Text in the prompt never becomes a special token; BOS is put before it as the model wants. Raises at once
        PromptTooLongError, and UsageError for an empty prompt or a limit without meaning; later BadFileError where
        the model's output is no number.
        """
        if max_tokens is not None and max_tokens < 0:
            raise UsageError(f"max_tokens is {max_tokens}: must be 0 or more")
        ids = self.tokenizer.encode(prompt)
        if not ids:
            raise UsageError("the prompt is empty, and this model has no BOS token to start from", "give a prompt")
        self._check_room(len(ids), max_tokens)
        stops = StopFilter([text.encode("utf-8", "surrogateescape") for text in stop])
        decoder = StreamDecoder(self.tokenizer, continues=bool(prompt))
        return self._generate(ids, max_tokens, Sampler(sampling or SamplingParams()), decoder, stops)

    def _check_room(self, n: int, max_tokens: int | None) -> None:
        """Raises PromptTooLongError where `n` tokens of prompt do not fit."""
        n_ctx = self.engine.n_ctx
        if n <= n_ctx:
            return
        message = f"the prompt is {n} tokens, {n - n_ctx} more than the context of {n_ctx}"
        fits = n + (ROOM if max_tokens is None else max_tokens)
        metadata = self.engine.gguf.metadata
        trained = metadata.get(f"{metadata.get('general.architecture')}.context_length")
        if isinstance(trained, int) and fits > trained:
            raise PromptTooLongError(message, f"shorten it; --ctx {fits} fits, but the model knows only {trained}")
        raise PromptTooLongError(message, f"use --ctx {fits}")

    def _generate(
        self, ids: list[int], max_tokens: int | None, sampler: Sampler, decoder: StreamDecoder, stops: StopFilter
    ) -> Iterator[Piece | Finished]:
        engine, history, n = self.engine, list(ids), 0
        reason: Reason | None = None
        clock = perf_counter()
        reused = engine.reuse(ids)
        logits = engine.prefill(ids[reused:])
        prefill, decode = perf_counter() - clock, 0.0
        while n != max_tokens:
            clock = perf_counter()
            if n:
                logits = engine.decode(history[-1])
            id = sampler.sample(logits, history, n)
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
        yield Finished(reason or "length", len(ids), reused, n, prefill, decode, sampler.seed)

    def _reason(self, id: int, n: int, max_tokens: int | None) -> Reason | None:
        """Why the `n`-th token, `id`, is the last one, if it is."""
        if id in self.tokenizer.stop_ids:
            return "stop"
        if n == max_tokens:
            return "length"
        return "context" if self.engine.length() >= self.engine.n_ctx else None
