"""Compares candidate models with a reference: perplexity, KL divergence, a greedy answer, and speed.

All models evaluate the text together in batches, so that no logits need to be stored. Speed is measured in turns, so
that other load on the machine affects all models alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from ..chat_format.prompt import PromptRequest
from ..engine import Engine
from ..errors import UsageError
from ..generation.session import Session
from ..gguf import Array, GGUFFile
from ..model_info.describe import Description, describe
from ..text import escaped
from .divergence import Divergence, log_probabilities
from .perplexity import BATCH, Perplexity, cut_in_chunks, estimate, scored_parts

PROMPT = "Explain in a few sentences why the sky is blue."
ANSWER = 64  # maximum tokens of the compared answers
LEAST_CONTEXT = 256  # smallest context, for prompt and answer where chunks are shorter
READ, MADE, REPEATS = 128, 16, 3  # tokens of the prefill and decode tests, and their repetitions


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """Chunks of `n_ctx` tokens of the text, at most `chunks`; `prompt` for the compared answers."""

    n_ctx: int = 512
    chunks: int | None = None
    n_threads: int | None = None
    prompt: str = PROMPT


@dataclass(slots=True)
class ModelResult:
    """A model and its measurements: `token_nlls` in nats, `prefill` and `decode` samples in tokens/s.

    `same_tokens`: length of the common prefix of its greedy answer and the reference's, in tokens.
    """

    path: Path
    session: Session
    about: Description
    token_nlls: list[float] = field(default_factory=list)
    divergence: Divergence = field(default_factory=Divergence)
    prefill: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    same_tokens: int = 0

    @property
    def engine(self) -> Engine:
        return self.session.engine

    @property
    def perplexity(self) -> Perplexity:
        return estimate(self.token_nlls, 0, 0)

    @property
    def prefill_speed(self) -> float:
        return median(self.prefill)

    @property
    def decode_speed(self) -> float:
        return median(self.decode)

    def log_ratio(self, reference: ModelResult) -> tuple[float, float]:
        """Natural log of the ratio of perplexities to the reference, and its standard error over paired tokens."""
        differences = np.array(self.token_nlls) - np.array(reference.token_nlls)
        return float(differences.mean()), float(differences.std()) / sqrt(max(1, len(differences) - 1))


@dataclass(slots=True)
class Comparison:
    """The models, the reference first; `answer` is its greedy answer in token ids, `chunks` the number evaluated."""

    models: list[ModelResult]
    options: CompareOptions
    answer: list[int] = field(default_factory=list)
    chunks: int = 0

    @property
    def reference(self) -> ModelResult:
        return self.models[0]

    @property
    def candidates(self) -> list[ModelResult]:
        return self.models[1:]

    def run(self, text: str | bytes) -> Iterator[tuple[int, int]]:
        """Run all measurements; yields (chunks evaluated, chunks in total) after each chunk.

        Raises UsageError for a text shorter than one chunk, PromptTooLongError, and what loading an engine raises.
        """
        cut = cut_in_chunks(self.reference.session.tokenizer, text, self.options.n_ctx, self.options.chunks)
        self._check_vocabularies()
        for model in self.models:
            model.engine.check_predicts()
        self._answer()
        self._race()
        for i, chunk in enumerate(cut, 1):
            self._read(chunk)
            self.chunks = i
            yield i, len(cut)

    def _check_vocabularies(self) -> None:
        """Raises UsageError for a candidate with another vocabulary than the reference."""
        first = _tokens(self.reference.session.gguf)
        for model in self.candidates:
            if _tokens(model.session.gguf) != first:
                where = escaped(str(model.path))
                message = f"{where} has a different vocabulary than {escaped(str(self.reference.path))}"
                raise UsageError(message, "compare models with the same vocabulary")

    def _read(self, chunk: Sequence[int]) -> None:
        for model in self.models:
            model.engine.truncate(0)
            model.engine.prefill(chunk[: len(chunk) // 2])
        for part, targets in scored_parts(chunk):
            wanted = self.reference.engine.all_logits(part)
            others = [(model, model.engine.all_logits(part)) for model in self.candidates]
            for i, target in enumerate(targets):  # row by row: float64 copies of all would take hundreds of megabytes
                log_p = log_probabilities(wanted[i])
                self.reference.token_nlls.append(-float(log_p[target]))
                for model, logits in others:
                    log_q = log_probabilities(logits[i])
                    model.token_nlls.append(-float(log_q[target]))
                    model.divergence.add_token(log_p, log_q)

    def _answer(self) -> None:
        """Generate the reference's greedy answer, and compare each candidate's with it."""
        session = self.reference.session
        ids = session.prompt(PromptRequest(self.options.prompt.encode("utf-8", "surrogateescape"))).ids
        most = min(ANSWER, self.reference.engine.n_ctx - len(ids))
        for token in greedy(self.reference.engine, ids, most):
            self.answer.append(token)
            if token in session.tokenizer.stop_ids:
                break
        for model in self.candidates:
            said = greedy(model.engine, ids, len(self.answer))
            pairs = zip(self.answer, said, strict=True)
            model.same_tokens = next((i for i, (a, b) in enumerate(pairs) if a != b), len(self.answer))
        self.reference.same_tokens = len(self.answer)

    def _race(self) -> None:
        """Measure speeds round-robin over the models; the first round is a warm-up."""
        n_read = min(READ, self.options.n_ctx)
        ids = np.random.default_rng(0).integers(0, self.reference.engine.n_vocab, n_read).tolist()
        for turn in range(REPEATS + 1):
            for model in self.models:
                model.engine.truncate(0)
                start = perf_counter()
                model.engine.prefill(ids)
                middle = perf_counter()
                model.engine.truncate(0)
                for id in ids[:MADE]:
                    model.engine.run([(0, [id])], [0])
                end = perf_counter()
                if turn:
                    model.prefill.append(n_read / (middle - start))
                    model.decode.append(len(ids[:MADE]) / (end - middle))


@contextmanager
def opened(reference: Path, candidates: Sequence[Path], options: CompareOptions) -> Iterator[Comparison]:
    """Open the models; engines are loaded when first used. Raises what `Session.open` raises."""
    with ExitStack() as stack:
        models = []
        for path in (reference, *candidates):
            n_ctx = max(options.n_ctx, LEAST_CONTEXT)
            session = stack.enter_context(
                Session.open(path, n_ctx=n_ctx, n_threads=options.n_threads, max_outputs=min(BATCH, n_ctx))
            )
            models.append(ModelResult(path, session, describe(session.gguf, options.n_ctx)))
        yield Comparison(models, options)


def greedy(engine: Engine, ids: Sequence[int], most: int) -> Iterator[int]:
    """Greedy decoding after `ids`: yields at most `most` token ids."""
    engine.truncate(0)
    logits = engine.prefill(ids)
    for i in range(most):
        token = int(logits.argmax())
        yield token
        if i + 1 < most:
            logits = engine.decode(token)


def _tokens(gguf: GGUFFile) -> bytes | None:
    held = gguf.metadata.get("tokenizer.ggml.tokens")
    return bytes(held.raw) if isinstance(held, Array) else None
