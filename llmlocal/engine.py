"""The engine: token ids in, logits out. Text is the business of tokenizer and session.

An engine is an open GGUF file, its recorded program, a KV cache and recurrent states for `n_seqs` sequences, and
threads to run the program.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from . import models
from .assistant import Assistant
from .errors import PromptTooLongError, UsageError
from .gguf.model_file import open_model
from .gguf.pages import large_share
from .gguf.reader import GGUFFile
from .layers import Layers
from .layers.low_rank import LowRank
from .layers.metadata import Config
from .layers.weights import Weights
from .model_sizes import default_context, logits_size
from .ops.program import run_program
from .ops.top_candidates import top_candidates
from .predictor import PredictingBlock, Predictor
from .quant.jit.cpu import physical_cores
from .quant.jit.kernel import Kernel
from .quant.jit.parallel_compile import Compilation, compiled, prepare
from .runtime.batch import Batch, batch_sizes, numbered
from .runtime.executor import ThreadTeam, deferred_signals
from .runtime.graph import Graph, MatmulObserver
from .runtime.kv_cache import KVCache
from .runtime.state_cache import StateCache
from .runtime.weight_copy import WeightCopy
from .runtime.weight_filling import WeightFilling
from .runtime.windows import UBATCH
from .sequences import Sequences
from .source_encoder import SourceEncoder, check_plain

Logits = NDArray[np.float32]


class Engine(Sequences):
    """A model that is ready to run, with `n_seqs` sequences."""

    def __init__(
        self,
        gguf: GGUFFile,
        n_ctx: int,
        n_threads: int,
        n_seqs: int,
        ubatch: int,
        max_outputs: int,
        kv_type: str,
        observer: MatmulObserver | None = None,
        copy_weights: bool = False,
        low_rank: LowRank | None = None,
        prefetch_bytes: int = 0,
        verified: int = 1,
        predicts: bool = False,
        assistant: GGUFFile | None = None,
    ) -> None:
        """Check the model and record its program, which `load` makes ready to run; see `open` for the arguments.

        Raises BadFileError for a wrong or unsupported model, UsageError for an encoder or a reranker.
        """
        self.gguf, self.n_ctx, self.n_seqs, self.n_threads = gguf, n_ctx, n_seqs, n_threads
        self._owns_file = True
        self._team: ThreadTeam | None = None
        arch = gguf.metadata.get("general.architecture")
        model = models.that_predicts(gguf.metadata, str(gguf.path))
        build = model.build
        self.n_vocab = logits_size(gguf)
        self._batch, self.max_outputs = Batch(ubatch, max_outputs), max_outputs  # logits that a run gives at most
        self._graph = graph = Graph(self._batch, n_threads, observer)
        self._cache = KVCache(n_ctx, n_seqs, kv_type, ubatch)
        config, self.weights = Config(gguf.metadata, str(arch), str(gguf.path)), Weights(gguf)
        if not config.flag("attention.causal", True):
            raise UsageError(f"{gguf.path}: attention is not causal, so no next token follows", "use llmlocal embed")
        copied = [*gguf.tensors.values(), *(assistant.tensors.values() if assistant else ())]
        self._copy = WeightCopy(copied) if copy_weights else None
        self._states = StateCache(n_seqs, ubatch, min(verified, max_outputs))
        place = self._copy.place if self._copy else lambda weight: weight
        prefetch_bytes = 0 if copy_weights else prefetch_bytes  # what is copied is not in the file
        self._layers = Layers(graph, self._cache, place, self._states, low_rank, prefetch_bytes)
        self._layers.predicts = predicts or assistant is not None
        logits = build(self._layers, config, self.weights, self.n_vocab)
        self.predictor = self._predicting(assistant, model, config) if self._layers.predicts else None
        self._source: SourceEncoder | None = None
        if models.kind(model) == models.ENCODER_DECODER:
            check_plain(f"{gguf.path}: {arch}", low_rank, observer)
            self._source = SourceEncoder(model, config, self.weights, self.n_vocab, self._layers)
        self._layers.low_rank.finish()
        self._states.allocate()
        self.prefixes = self._cache.prefixes  # what sequences share
        self.ring = self._cache.ring  # what is held of sequences in layers with a window
        graph.keep(logits)
        assert logits.kept is not None
        self._logits: Logits = logits.kept.view(np.float32).reshape(max_outputs, self.n_vocab)
        self._filling: WeightFilling | None = None
        self._parts = [part for part in (graph, self._source, self.predictor) if part]
        self.n_kernels = len({kernel for part in self._parts for kernel in part.kernels})
        self._tokens: list[list[int]] = [[] for _ in range(n_seqs)]  # what the decoder has read

    def _predicting(self, assistant: GGUFFile | None, module: ModuleType, c: Config) -> Predictor:
        if assistant:
            return Assistant(assistant, self.weights, self.n_vocab, self._layers)
        return PredictingBlock(module, c, self.weights, self.n_vocab, self._layers)

    @classmethod
    def open(
        cls,
        file: Path | str | GGUFFile,
        *,
        n_ctx: int | None = None,
        n_threads: int | None = None,
        n_seqs: int = 1,
        ubatch: int = UBATCH,
        max_outputs: int = 1,
        kv_type: str = "f16",
        observer: MatmulObserver | None = None,
        copy_weights: bool = False,
        low_rank: LowRank | None = None,
        prefetch_bytes: int = 0,
        verified: int = 1,
        predicts: bool = False,
        assistant: GGUFFile | None = None,
        load: bool = True,
    ) -> Engine:
        """Map a GGUF file and prepare it for `n_seqs` sequences of `n_ctx` tokens.

        A `file` that is open already stays open when the engine is closed. `n_ctx` defaults to
        `default_context`; `n_threads` to the number of physical cores. `ubatch`: tokens of one run at most;
        `max_outputs`: logits of one run at most; `kv_type`: f16, q8_0 or f32; `observer` is called before each matrix
        product is recorded; `copy_weights` copies matrices into memory of their own, in large pages and laid out for
        decode; `low_rank` are changes of matrices, used up by one engine. `prefetch_bytes`: for a
        mixture larger than memory, how many bytes of chosen experts are asked of the disk at once, 0 for none.
        `verified`: tokens that `verify` reads at once at most in a model with recurrent states, which are kept for it.
        `predicts`: record the block that predicts further tokens, which the file must have, as `predictor`; in its
        place an `assistant`, an open file that stays open. `load=False` leaves copies and kernels to `load`. Raises
        NotFoundError for a missing file, BadFileError for a wrong or unsupported one, UsageError for options that the
        model does not support.
        """
        gguf = file if isinstance(file, GGUFFile) else open_model(file)
        try:
            n_ctx = n_ctx or default_context(gguf)
            threads, max_outputs = n_threads or physical_cores(), max(max_outputs, n_seqs)
            sizes = n_ctx, threads, n_seqs, min(ubatch, n_ctx * n_seqs), max_outputs
            changes = observer, copy_weights, low_rank, prefetch_bytes
            engine = cls(gguf, *sizes, kv_type, *changes, verified, predicts, assistant)
            engine._owns_file = gguf is not file
            if load:
                engine.load()
        except BaseException:
            if gguf is not file:
                gguf.close()
            raise
        return engine

    def compile_ahead(self, *others: Engine) -> Compilation:
        """Start to compile the kernels that `load` needs, here and in `others`, in other processes.

        Call it in the main thread.
        """
        return Compilation([kernel for engine in (self, *others) for kernel in engine._kernels()], self.n_threads)

    def begin_load(self) -> None:
        """Start to copy the weights, beside what the caller does, where that was asked for and no kernel is missing.

        Afterwards `load` or `close` must be called.
        """
        if self._copy and compiled(self._kernels()):
            self._filling = WeightFilling(self._copy, self.gguf, self.n_threads)

    def load(self) -> None:
        """Compile or load the kernels, copy the weights where that was asked for, and start the threads."""
        prepare(self._kernels(), self.n_threads)
        if self._copy:
            self._filling = self._filling or WeightFilling(self._copy, self.gguf, self.n_threads)
        elif not self._layers.prefetch_bytes:  # large pages would bring unchosen neighbours, too
            self.gguf.prefer_large_pages(again=True)
        self._program, *_ = (part.finish() for part in self._parts)
        if self._filling:
            self._filling.finish()
        self._team, self._filling = self._filling.team if self._filling else ThreadTeam(self.n_threads), None

    def _kernels(self) -> list[Kernel]:
        filling = self._copy.kernels() if self._copy else []
        return [*(k for part in self._parts for k in part.kernels), *filling, run_program, top_candidates]

    def check_predicts(self) -> None:
        """Raises UsageError where an encoder reads a text, whose tokens have no logits then."""
        if self.reads_whole:
            said = f"{self.gguf.path}: an encoder reads the text, whose tokens are not predicted"
            raise UsageError(said, "use a model without an encoder; llmlocal run answers with this one")

    def pieces(self, n: int, most: int) -> Iterator[int]:
        """Sizes of the pieces, of `most` tokens at most, in which a prompt of `n` tokens is to be read."""
        return iter([n]) if self.reads_whole else batch_sizes(n, most)

    @property
    def cache_format(self) -> str:
        """The KV cache type, such as f16, how the weights lie, and what is added to them.

        All of it decides the exact bits of keys and values.
        """
        changes = self._layers.low_rank.digest
        return self._cache.kv_type.name + ("-copied" if self._copy else "") + (f"-{changes}" if changes else "")

    @property
    def same_bits(self) -> int:
        """The most tokens of a run that have the same logits together as one after the other, bit for bit."""
        return self._layers.same_bits

    @property
    def verifiable(self) -> int:
        """The most tokens that `verify` gives these logits, and from which it can go back to any of them."""
        return min(self.same_bits, self._states.verified) if self.state_bytes else self.same_bits

    def pages(self) -> str:
        """Where the weights lie and in which pages, such as "copied, 98 % in large pages"."""
        share = large_share([*self.gguf.mappings(), *([self._copy.memory] if self._copy else [])])
        return ("copied" if self._copy else "mapped") + (f", {share:.0%} in large pages" if share is not None else "")

    def prefill(self, tokens: Sequence[int], seq: int = 0) -> Logits:
        """Append tokens; logits (n_vocab,) after the last. Raises PromptTooLongError, UsageError for a bad id."""
        self._check(tokens, seq)
        self._read(tokens, seq, outputs=1)
        logits: Logits = self._result(1)[0]
        return logits

    def decode(self, token: int, seq: int = 0) -> Logits:
        """Append one token; logits (n_vocab,)."""
        return self.prefill([token], seq)

    def run(self, parts: Sequence[tuple[int, Sequence[int]]], outputs: Sequence[int]) -> Logits:
        """Append tokens to several sequences in one batch: `parts` are (sequence, tokens), at most `ubatch` in all.

        Returns logits (outputs, n_vocab) after the last token of the parts with the indices `outputs`: the engine's own
        memory, which holds them until it runs again. They may hold what is not finite, so that one sequence does not
        fail the others. An encoder reads a part with which a sequence begins, which counts as one token. Raises as
        `prefill`, before anything is run.
        """
        seqs = [seq for seq, _ in parts]
        for seq, part in parts:
            self._check(part, seq)
        size = sum(1 if self._begins(seq) else len(part) for seq, part in parts)
        if len(set(seqs)) != len(seqs) or size > self._batch.ubatch or len(outputs) > self.max_outputs:
            raise UsageError(f"run takes {self._batch.ubatch} tokens at most, in one part for each sequence")
        parts = [(seq, self._begun(part, seq)) for seq, part in parts]
        tokens = [token for _, part in parts for token in part]
        ends = list(itertools.accumulate(len(part) for _, part in parts))
        self._run(tokens, [seq for seq, part in parts for _ in part], [ends[i] - 1 for i in outputs])
        return self._logits[: len(outputs)]

    def all_logits(self, tokens: Sequence[int], seq: int = 0) -> Logits:
        """Append tokens, `max_outputs` at a time; logits (tokens, n_vocab) after each.

        Raises as `prefill`, and UsageError for tokens that an encoder would read, which have no logits.
        """
        self._check(tokens, seq)
        if self._begins(seq):
            self.check_predicts()
        out = np.empty((len(tokens), self.n_vocab), np.float32)
        many = min(self._batch.ubatch, self.max_outputs)
        for start in range(0, len(tokens), many):
            part = tokens[start : start + many]
            self._run(part, [seq] * len(part), range(len(part)))
            out[start : start + len(part)] = self._result(len(part))
        return out

    def verify(self, tokens: Sequence[int], seq: int = 0) -> Logits:
        """Append tokens, `max_outputs` at most, in one run; logits (tokens, n_vocab) after each.

        They may hold what is not finite: `checked` tells. Of recurrent states as many are kept as `verifiable` says, so
        that `truncate` to one of the tokens reads nothing again. Raises as `prefill`.
        """
        return self.verify_parts([(seq, tokens)], range(len(tokens)))

    def verify_parts(self, parts: Sequence[tuple[int, Sequence[int]]], outputs: Sequence[int]) -> Logits:
        """As `verify` for several sequences in one run, `parts` are (sequence, tokens).

        Logits (outputs, n_vocab) after the tokens with the indices `outputs` among all of them.
        """
        for seq, part in parts:
            self._check(part, seq)
        tokens, seqs = [id for _, part in parts for id in part], [seq for seq, part in parts for _ in part]
        self._run(tokens, seqs, outputs, verify=len(tokens) <= self.verifiable)
        return self._logits[: len(outputs)].copy()

    def close(self) -> None:
        """End the threads and unmap the file, unless `open` was given an open one."""
        for running in (self._filling, self._team):
            if running:
                running.close()
        if self._owns_file:
            self.gguf.close()

    def _check(self, tokens: Sequence[int], seq: int) -> None:
        if not 0 <= seq < self.n_seqs:
            raise UsageError(f"sequence {seq} of {self.n_seqs}")
        if not tokens:
            raise UsageError("no tokens to run")
        if min(tokens) < 0 or max(tokens) >= self.n_vocab:
            raise UsageError(f"token ids must be 0 to {self.n_vocab - 1}")
        wanted = self.length(seq) + len(tokens)
        if wanted > self.n_ctx:
            raise PromptTooLongError(
                f"{wanted} tokens do not fit a context of {self.n_ctx}, {wanted - self.n_ctx} too many",
                f"use --ctx {wanted} or more",
            )

    def _read(self, tokens: Sequence[int], seq: int, *, outputs: int) -> None:
        """Append tokens, in as many batches as it takes, with the logits of the last `outputs` (0 or 1) of them."""
        tokens, start = self._begun(tokens, seq), 0
        for size in batch_sizes(len(tokens), self._batch.ubatch):
            part, start = tokens[start : start + size], start + size
            self._run(part, [seq] * size, [size - 1] * outputs if start == len(tokens) else [])

    def _begun(self, tokens: Sequence[int], seq: int) -> Sequence[int]:
        """What the decoder reads of tokens: its first token in place of a text, which the encoder reads."""
        if not tokens or not self._begins(seq):
            return tokens
        assert self._source is not None and self._team is not None, "the engine is not loaded"
        self._source.read(tokens, seq, self._cache.start(seq), self._team)
        return [self._source.start]

    def _run(self, tokens: Sequence[int], seqs: Sequence[int], outputs: Sequence[int], *, verify: bool = False) -> None:
        """Run the program once: append at most ubatch tokens, each to its sequence, with the logits of `outputs`.

        `verify`: it shall be possible to go back to each of them.
        """
        batch, n = self._batch, len(tokens)
        positions = [len(self._tokens[seq]) + i for i, seq in numbered(seqs)]
        batch.fill(tokens, positions, [self._cache.start(seq) for seq in seqs], outputs)
        self.ring.fill(seqs, batch.positions[:n])
        self.prefixes.fill(seqs, batch.positions[:n], batch.prefix_starts, batch.prefix_lengths)
        if self._source:
            batch.last_sources[:n] = [len(self._source.texts[seq]) - 1 for seq in seqs]
        for table in self._layers.tables:
            table.fill(batch.positions[:n])
        # Keys, values and states move with each run: nothing may come between them and the tokens they stand for.
        assert self._team is not None, "the engine is not loaded"
        with deferred_signals():
            runs = [(seq, len(self._tokens[seq]), len(list(run))) for seq, run in itertools.groupby(seqs)]
            self._states.plan(runs, verify=verify)
            self.ring.advance(runs)
            self._team.run(self._program)
            if self.predictor:
                self.predictor.saw(seqs, batch.positions[:n], self._team)
            for token, seq in zip(tokens, seqs, strict=True):
                self._tokens[seq].append(token)

    def _result(self, outputs: int) -> Logits:
        """A copy of the logits (outputs, n_vocab). Raises as `checked`."""
        return self.checked(self._logits[:outputs].copy())

    def checked(self, logits: Logits) -> Logits:
        """`logits`. Raises BadFileError if they are not finite, and names the tensor."""
        squares = np.vdot(logits, logits)  # a quick first test: it keeps NaN and infinity
        if not isfinite(squares) and not np.isfinite(logits).all():
            raise self.weights.not_finite("the logits are not finite")
        return logits
