"""Prompts in, events out: engine, tokenizer, sampler and prompt cache at work together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

from .. import models
from .. import tokenizer as tokenizers
from ..chat_format.prompt import Prompt, PromptRequest, plain, prompt
from ..constraints.grammar import Grammar
from ..draft.proposer import Proposer, proposer
from ..engine import Engine, Logits
from ..engine_plan import EnginePlan
from ..errors import LlmlocalError, PromptTooLongError, UsageError
from ..gguf import GGUFFile
from ..gguf.model_file import open_model
from ..model_info.arch_value import arch_value
from ..model_info.memory import memory
from ..model_info.memory_limit import check_memory
from ..model_sizes import default_context
from ..quant.jit.parallel_compile import Compilation
from ..runtime.weight_copy import Shaped
from ..speculation.draft import Draft
from ..speculation.speculation import Speculation
from ..text import format_bytes
from ..tokenizer import Tokenizer
from .answer_text import AnswerText
from .answer_tokens import AnswerTokens
from .decoding import certain, cost_file, next_tokens, speculation_of
from .events import Event, Events, Finished, PromptProgress
from .prompt_cache import PromptCache
from .sampler import Sampler
from .sampling_params import SamplingParams

if TYPE_CHECKING:
    from ..chat_format.call_form import CallForm
    from ..draft.draft_model import DraftModel
    from ..layers.low_rank import LowRank

ANSWER_ROOM = 256  # tokens of answer that a hint leaves room for where no limit was asked
MOST_TEXT, BLANKS = 1 << 28, 1 << 20  # bytes of a text for any context; blanks that templates and tokenizers drop
CHUNK_WORK = 400e9  # multiply-adds in a chunk of a prompt: a few seconds until it can be reported on or stopped
CHUNKS = (32, 64, 128, 256, 512)  # tokens; the choice depends on the model alone, so that answers can be repeated


class Session:
    """A model that answers one prompt after another. The prefix that a prompt shares with the last is not read again.

    The engine is loaded with the first answer, so that a prompt that is refused compiles no kernels.
    """

    def __init__(self, gguf: GGUFFile, tokenizer: Tokenizer, n_ctx: int, record: Callable[[], Engine]) -> None:
        """`record` opens the engine, not yet loaded."""
        self.gguf, self.tokenizer, self.n_ctx = gguf, tokenizer, n_ctx
        self.lora, self.lora_digest = tuple[tuple[Path, float], ...](), ""
        self.tensors: Mapping[str, Shaped] = gguf.tensors  # with the factors of adapters
        self.load_seconds = 0.0
        self.cache: PromptCache | None = None  # where the context is saved when the session is closed
        self.kv_type, self.speculate, self.n_seqs = "f16", "off", 1
        self.draft: DraftModel | None = None
        self.assistant: GGUFFile | None = None
        self.notes: list[str] = []  # for the user: why there is no draft, and what is read from the disk
        self._plan: EnginePlan | None = None
        self._record = record
        self._recorded: Engine | None = None  # until it is loaded
        self._engine: Engine | None = None

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        n_ctx: int | None = None,
        n_threads: int | None = None,
        n_seqs: int = 1,
        max_outputs: int = 1,
        kv_type: str = "f16",
        weights: str = "auto",
        speculate: str = "off",
        draft: Path | str | None = None,
        lora: Sequence[tuple[Path, float]] = (),
        force: bool = False,
        ahead: bool = False,
    ) -> Session:
        """Open a GGUF file and its tokenizer. `n_ctx` defaults to the model's context, 4096 at most.

        `n_seqs` is the number of sequences, each of `n_ctx` tokens, of which `answer` uses the first.
        `kv_type` is `f16` or `q8_0`; `weights` says where they are kept: `map`, `copy` or `auto`; `speculate` whether
        `answer` proposes tokens, one of `speculation.MODES`. `draft` is the file of a smaller model that proposes, too,
        where `speculate` is auto or draft, or that of the model's assistant; `auto` looks for one. `lora` are adapters
        (`lora.run_time`) with their factors. `force` loads the engine even where memory does not suffice. `ahead`
        copies weights while the tokenizer is loaded and the caller makes a prompt, unless kernels are missing. Raises
        NotFoundError, BadFileError, UsageError; ResourceError when the engine is loaded.
        """
        gguf, chosen = open_model(path), Proposer()
        begun: Engine | None = None
        try:
            chosen = proposer(gguf, speculate, draft)
            n_ctx = n_ctx or default_context(gguf)
            changed = [_changes(gguf, lora)] if lora else []
            digest = changed[0].digest if changed else ""
            tensors: dict[str, Shaped] = {**gguf.tensors, **(changed[0].sizes() if changed else {})}

            def changes() -> LowRank | None:
                return (changed.pop() if changed else _changes(gguf, lora)) if lora else None

            asked = n_ctx, n_threads, n_seqs, max_outputs, kv_type, weights, speculate
            plan = EnginePlan(gguf, tensors, *asked, chosen.predicts, chosen.assistant, force, changes)
            if ahead and draft is None:
                with suppress(LlmlocalError):  # raised again where the engine is needed
                    begun = plan.record()
                    begun.begin_load()
            session = cls(gguf, tokenizers.load(gguf.metadata), n_ctx, lambda: plan.record(session.draft))
            session._recorded = begun
            session.lora, session.lora_digest, session.tensors = tuple(lora), digest, tensors
            session.kv_type, session.speculate, session.n_seqs = kv_type, speculate, n_seqs
            session.notes += filter(None, [plan.note, chosen.note])
            session.assistant, session._plan = chosen.assistant, plan
            if chosen.draft:
                from ..draft.draft_model import DraftModel

                session.draft = DraftModel.open(chosen.draft, gguf, session.tokenizer.stop_ids)
        except BaseException:
            for opened in (begun, chosen.assistant, gguf):
                if opened is not None:
                    opened.close()
            raise
        return session

    @property
    def draft_memory(self) -> int:
        """Bytes that the draft, or the assistant, takes, 0 without one."""
        return self._plan.draft_memory(self.draft) if self._plan else 0

    def check_memory(self) -> None:
        """Raises ResourceError where a sequence, and the draft, need more memory than is free."""
        check_memory(self.gguf.metadata, self.tensors, self.n_ctx, self.kv_type, draft=self.draft_memory)

    @property
    def engine(self) -> Engine:
        """The engine, loaded on first use. Raises as `Engine.open` does."""
        if self._engine is None:
            clock = perf_counter()
            engine, self._recorded = self._recorded or self._record(), None
            try:
                engine.load()
                if self.draft:
                    self.draft.engine.load()
            except BaseException:
                engine.close()
                raise
            self._engine = engine
            self.load_seconds = perf_counter() - clock
        return self._engine

    @cached_property
    def speculation(self) -> Speculation:
        """The proposals for the answers of `answer`. Raises as `engine`."""
        draft: Draft | None = self.draft
        if self.engine.predictor:
            from ..draft.mtp_draft import MtpDraft

            draft = MtpDraft(self.engine, self.tokenizer.stop_ids, self.assistant)
        return speculation_of(self.engine, self.speculate, draft)

    def compile_ahead(self) -> Compilation:
        """Check the model, and start to compile the kernels that it needs. Raises as `Engine.open` does.

        Call it in the main thread; when the compilation has ended, any one thread may load `engine`.
        """
        self._recorded = self._recorded or self._record()
        return self._recorded.compile_ahead(*([self.draft.engine] if self.draft else []))

    @property
    def loaded(self) -> bool:
        """Whether the engine is there."""
        return self._engine is not None

    @property
    def used(self) -> int:
        """Tokens in the context."""
        return self._engine.length() if self._engine is not None else 0

    def close(self) -> None:
        """Save the context to the prompt cache, if there is one, stop the threads and unmap the file."""
        engine, recorded = self._engine, self._recorded
        self._engine = self._recorded = None
        try:
            if engine is not None and self.cache is not None:
                self.cache.store(engine)
            if engine is not None and self.speculate != "off" and "speculation" in vars(self):
                cost_file(engine).save(self.speculation.decision.costs)
        finally:
            for opened in (engine, recorded, self.draft, self.assistant, self.gguf):
                if opened is not None:
                    opened.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def most_bytes(self) -> int:
        """The largest size in bytes of a text that is read for the context; larger ones cannot fit."""
        most = self.tokenizer.most_bytes(self.n_ctx)
        return MOST_TEXT if most is None else min(most + BLANKS, MOST_TEXT)

    def check_size(self, *texts: str | bytes) -> None:
        """Raises PromptTooLongError for texts that cannot fit the context, without the time to encode them."""
        size = sum(len(text.strip()) for text in texts)  # an str has at least as many bytes
        if size > self.most_bytes:
            most = format_bytes(self.most_bytes)
            said = f"the prompt has {format_bytes(size)}: a context of {self.n_ctx} tokens holds {most} at most"
            raise PromptTooLongError(said, "shorten it, or use a larger --ctx")

    def prompt(self, request: PromptRequest) -> Prompt:
        """The prompt for a request to this model.

        Raises as `chat_format.prompt.prompt`, and as `check_size`; UsageError for an encoder.
        """
        models.that_predicts(self.gguf.metadata, str(self.gguf.path))  # before anything is said of templates
        self.check_size(request.question, *(file.content for file in request.files))
        return prompt(request, self.tokenizer, self.gguf.metadata)

    def complete(
        self,
        text: str | bytes,
        *,
        max_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        stop: Sequence[str] = (),
        grammar: Grammar | None = None,
    ) -> Events:
        """As `answer`, for a text to be continued. Raises UsageError for an empty one where the model has no BOS."""
        self.check_size(text)
        prompt = plain(text, self.tokenizer, self.gguf.metadata)
        return self.answer(prompt, max_tokens=max_tokens, sampling=sampling, stop=stop, grammar=grammar)

    def answer(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        stop: Sequence[str] = (),
        think_budget: int | None = None,
        calls: CallForm | None = None,
        sampler: Sampler | None = None,
        grammar: Grammar | None = None,
        logprobs: int | None = None,
    ) -> Events:
        """The events of an answer: one `Token` for each token, then `Finished`.

        Without `max_tokens` it goes on until the model ends it or the context is full. A thought is closed after
        `think_budget` tokens. `calls` are those of functions that it may or must make. A `sampler` is used
        in place of a new one with the parameters `sampling`. `grammar` is the form that the answer has after its
        thought; where it is cut short before that, `Finished.valid` is false. With `logprobs` tokens come as
        `ScoredToken`, with that many of the likeliest ids.

        Raises at once PromptTooLongError, UsageError for invalid limits and a grammar that is too complex, and what
        loading the engine raises; while it runs BadFileError where logits are not finite.
        """
        if max_tokens is not None and max_tokens < 0:
            raise UsageError(f"max_tokens is {max_tokens}: must be 0 or more")
        self.check_room(len(prompt.ids), max_tokens)
        tags = () if calls is None else calls.spans
        text = AnswerText(prompt, self.tokenizer, stop, tags, exact=grammar is not None)
        sampler = sampler or Sampler(sampling or SamplingParams())
        limits = max_tokens, think_budget, grammar, calls
        tokens = AnswerTokens(prompt, self.tokenizer, self.n_ctx, sampler, text, *limits)
        return self._generate(self.engine, prompt.ids, tokens, logprobs)

    def check_room(self, n: int, max_tokens: int | None) -> None:
        """Raises PromptTooLongError where `n` tokens of prompt do not fit."""
        if n <= self.n_ctx:
            return
        message = f"the prompt is {n} tokens, {n - self.n_ctx} more than the context of {self.n_ctx}"
        fits, metadata = n + (ANSWER_ROOM if max_tokens is None else max_tokens), self.gguf.metadata
        takes = format_bytes(memory(metadata, self.tensors, fits, self.kv_type).total)
        trained = arch_value(metadata, "context_length")
        hint = f"use --ctx {fits}, which takes {takes} of memory"
        if trained is not None and fits > trained:
            hint = f"shorten it; --ctx {fits} would take {takes} of memory, but the model was trained on {trained}"
        raise PromptTooLongError(message, hint)

    def _generate(self, engine: Engine, ids: list[int], tokens: AnswerTokens, best: int | None) -> Events:
        clock = perf_counter()
        if self.cache is not None:
            self.cache.restore(engine, ids)
        read_again = engine.behind_window(ids)
        reused = engine.reuse(ids)
        logits = yield from self._prefill(engine, ids, reused)
        prefill, decode = perf_counter() - clock, 0.0
        speculation = self.speculation
        speculation.begin(ids, prefill)
        while tokens.reason is None:
            clock = perf_counter()
            if tokens.count and (best is not None or not tokens.forced):
                taken = next_tokens(engine, tokens, speculation, best)
            else:
                taken = certain(tokens, logits, speculation, best)
            with closing(taken):
                for token in taken:
                    decode += (perf_counter() - clock) * (tokens.count > 1)
                    yield token
                    clock = perf_counter()
        speculation.end()
        seed, load, report = tokens.sampler.seed, self.load_seconds, speculation.report
        counts = len(ids), reused, tokens.count
        numbers = *counts, load, prefill, decode, seed, tokens.valid
        yield Finished(tokens.reason, *numbers, speculation=report, read_again=read_again)

    def _prefill(self, engine: Engine, ids: list[int], start: int) -> Generator[Event, None, Logits]:
        """Read a prompt from token `start` on in chunks, between which the caller can report progress or stop."""
        weights = sum(tensor.rows * tensor.k for tensor in self.gguf.tensors.values())
        chunk = max((n for n in CHUNKS if n * weights <= CHUNK_WORK), default=CHUNKS[0])
        for size in engine.pieces(len(ids) - start, chunk):
            logits = engine.prefill(ids[start : start + size])
            start += size
            if start < len(ids):
                yield PromptProgress(start, len(ids))
        return logits


def _changes(gguf: GGUFFile, lora: Sequence[tuple[Path, float]]) -> LowRank:
    from ..lora.run_time import changes

    return changes(gguf, lora)
