"""Token ids in, logits out. Knows nothing about text.

An engine is an open file, its recorded program, a cache for `n_seqs` sequences and a team of threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import models
from .errors import BadFileError, PromptTooLongError, UsageError
from .gguf.reader import GGUFFile, open_gguf
from .layers import Layers
from .layers.metadata import Config
from .layers.weights import Weights
from .quant.jit.cpu import physical_cores
from .runtime.executor import Team
from .runtime.graph import Graph, Step, Watcher
from .runtime.kv_cache import KVCache
from .tokenizer.vocab import vocabulary_size

DEFAULT_CONTEXT = 4096
Logits = NDArray[np.float32]


class Engine:
    """A model that is ready to run. Sequences are numbered from 0; each has its own tokens and its own cache."""

    def __init__(
        self,
        gguf: GGUFFile,
        n_ctx: int,
        n_threads: int,
        n_seqs: int,
        ubatch: int,
        max_outputs: int,
        kv_type: str,
        watcher: Watcher | None = None,
    ) -> None:
        """Check the model against its hyper-parameters, record its program and prepare the kernels.

        Raises BadFileError for a model that cannot be right, before any kernel is compiled or run.
        """
        self.gguf, self.n_ctx, self.n_seqs, self.n_threads = gguf, n_ctx, n_seqs, n_threads
        arch = gguf.metadata.get("general.architecture")
        build = models.find(arch, str(gguf.path)).build
        self.n_vocab = logits_size(gguf)
        self._step = Step(ubatch, max_outputs)
        graph = Graph(self._step, n_threads, watcher)
        self._cache = KVCache(n_ctx, n_seqs, kv_type)
        self._layers, self.weights = Layers(graph, self._cache), Weights(gguf)
        logits = build(self._layers, Config(gguf.metadata, str(arch), str(gguf.path)), self.weights, self.n_vocab)
        graph.keep(logits)
        assert logits.kept is not None
        self._logits: Logits = logits.kept.view(np.float32).reshape(max_outputs, self.n_vocab)
        self._program = graph.finish()
        self.n_kernels = len(set(graph.kernels))
        self._team = Team(n_threads)
        self._tokens: list[list[int]] = [[] for _ in range(n_seqs)]

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        n_ctx: int | None = None,
        n_threads: int | None = None,
        n_seqs: int = 1,
        ubatch: int = 512,
        max_outputs: int = 1,
        kv_type: str = "f16",
        watcher: Watcher | None = None,
    ) -> Engine:
        """Map a GGUF file. `n_ctx` defaults to the trained context, at most DEFAULT_CONTEXT; threads to the cores.

        `kv_type` is the kind of cache, f16 or q8_0; `watcher` hears of every product.
        Raises NotFoundError, BadFileError or UsageError.
        """
        gguf = open_gguf(path)
        n_ctx = n_ctx or min(trained_context(gguf), DEFAULT_CONTEXT)
        ubatch = min(ubatch, n_ctx * n_seqs)
        threads, max_outputs = n_threads or physical_cores(), max(max_outputs, n_seqs)
        try:
            return cls(gguf, n_ctx, threads, n_seqs, ubatch, max_outputs, kv_type, watcher)
        except BaseException:
            gguf.close()
            raise

    def length(self, seq: int = 0) -> int:
        """Tokens in the cache of a sequence."""
        return len(self._tokens[seq])

    def history(self, seq: int = 0) -> list[int]:
        """The tokens in the cache of a sequence."""
        return list(self._tokens[seq])

    def cells(self, n: int, seq: int = 0) -> list[NDArray[np.uint8]]:
        """The cache of the first `n` tokens, as `KVCache.first_cells` gives it: what is written there counts."""
        return self._cache.first_cells(n, seq)

    def adopt(self, tokens: Sequence[int], seq: int = 0) -> None:
        """Take it that the first cells of a sequence hold `tokens`: they were written there by the caller.

        Raises as `prefill` does where they cannot.
        """
        self._tokens[seq] = []
        if tokens:
            self._check(tokens, seq)
            self._tokens[seq] = list(tokens)

    @property
    def cache_format(self) -> str:
        """The name of the kind of cache."""
        return self._cache.kind.name

    def truncate(self, length: int, seq: int = 0) -> None:
        """Forget everything from position `length` on."""
        del self._tokens[seq][length:]

    def reuse(self, tokens: Sequence[int], seq: int = 0) -> int:
        """Keep of the cache what it shares with the start of `tokens`, at most all but the last; how many that are."""
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(self._tokens[seq], tokens[:-1], strict=False))
        shared = sum(1 for _ in same)
        self.truncate(shared, seq)
        return shared

    def prefill(self, tokens: Sequence[int], seq: int = 0) -> Logits:
        """Append tokens; logits (n_vocab,) after the last. Raises PromptTooLongError, UsageError for a bad id."""
        self._check(tokens, seq)
        for start in range(0, len(tokens), self._step.ubatch):
            part = tokens[start : start + self._step.ubatch]
            last = start + len(part) == len(tokens)
            self._run(part, [seq] * len(part), [len(part) - 1] if last else [])
        logits: Logits = self._result(1)[0]
        return logits

    def decode(self, token: int, seq: int = 0) -> Logits:
        """Append one token; logits (n_vocab,)."""
        return self.prefill([token], seq)

    def decode_many(self, tokens: Sequence[int], seqs: Sequence[int]) -> Logits:
        """Append one token to each of several sequences in one batch; logits (sequences, n_vocab)."""
        if len(set(seqs)) != len(seqs) or len(seqs) != len(tokens) or len(seqs) > self._step.max_outputs:
            raise UsageError(f"decode_many takes one token for each of at most {self._step.max_outputs} sequences")
        for token, seq in zip(tokens, seqs, strict=True):
            self._check([token], seq)
        self._run(tokens, seqs, range(len(tokens)))
        return self._result(len(tokens))

    def all_logits(self, tokens: Sequence[int], seq: int = 0) -> Logits:
        """Append tokens, `max_outputs` at a time; logits (tokens, n_vocab) after each."""
        self._check(tokens, seq)
        out = np.empty((len(tokens), self.n_vocab), np.float32)
        many = min(self._step.ubatch, self._step.max_outputs)
        for start in range(0, len(tokens), many):
            part = tokens[start : start + many]
            self._run(part, [seq] * len(part), range(len(part)))
            out[start : start + len(part)] = self._result(len(part))
        return out

    def close(self) -> None:
        """End the threads and unmap the file."""
        self._team.close()
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

    def _run(self, tokens: Sequence[int], seqs: Sequence[int], outputs: Sequence[int]) -> None:
        """One step of at most ubatch tokens, each appended to its sequence; logits are wanted of `outputs`."""
        step, n = self._step, len(tokens)
        positions = [self.length(seq) + i for i, seq in _numbered(seqs)]
        step.count(n, len(outputs))
        step.ids[:n], step.positions[:n] = tokens, positions
        step.bases[:n] = [self._cache.base(seq) for seq in seqs]
        step.cells[:n] = step.bases[:n] + step.positions[:n]
        step.output_rows[: len(outputs)] = outputs
        for table in self._layers.tables:
            table.fill(step.positions[:n])
        self._team.run(self._program)
        for token, seq in zip(tokens, seqs, strict=True):
            self._tokens[seq].append(token)

    def _result(self, outputs: int) -> Logits:
        """A copy of the logits; raises BadFileError where they are not finite, naming the tensor that is to blame."""
        logits = self._logits[:outputs].copy()
        if (
            not np.isfinite(logits.sum()) and not np.isfinite(logits).all()
        ):  # a sum is quick, and keeps NaN and infinity
            tensor = self.weights.first_not_finite()
            blame = f"tensor '{tensor}' holds a value that is not finite" if tensor else "the logits are not finite"
            raise BadFileError(
                f"{self.gguf.path}: {blame}", "the file is damaged or was converted wrongly; get it again"
            )
        return logits


def _numbered(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """For each token, how many tokens of the same sequence stand before it in the batch, and that sequence."""
    seen: dict[int, int] = {}
    out = []
    for seq in seqs:
        out.append((seen.get(seq, 0), seq))
        seen[seq] = seen.get(seq, 0) + 1
    return out


def logits_size(gguf: GGUFFile) -> int:
    """Tokens of the file's vocabulary; of the embedding where it brings none. Raises BadFileError."""
    table = gguf.tensors.get("token_embd.weight")
    size = vocabulary_size(gguf.metadata) or (table.rows if table is not None else 0)
    if not size:
        raise BadFileError(
            f"{gguf.path}: neither a vocabulary nor 'token_embd.weight'", "the file holds no language model"
        )
    return size


def trained_context(gguf: GGUFFile) -> int:
    """The context that the model was trained for, or DEFAULT_CONTEXT where the file does not say."""
    value = gguf.metadata.get(f"{gguf.metadata.get('general.architecture')}.context_length")
    return value if isinstance(value, int) and 0 < value < 1 << 31 else DEFAULT_CONTEXT
