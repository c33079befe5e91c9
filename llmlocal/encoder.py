"""Whole texts in, one row for each out: a vector, scores, or logits of masked words.

An `Encoder` packs the token ids of several texts into one batch, one after the other, without padding. It runs
encoders, and decoders up to the states that their output matrix would read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from . import models
from .errors import UsageError
from .gguf.reader import GGUFFile
from .layers import Layers
from .layers.metadata import Config
from .layers.weights import Weights
from .model_sizes import logits_size
from .ops.kv.kv_type import padded
from .ops.program import run_program
from .quant.jit.cpu import target
from .quant.jit.parallel_compile import prepare
from .quant.tensor import QTensor
from .runtime.batch import Batch
from .runtime.executor import ThreadTeam
from .runtime.graph import Graph, Value
from .runtime.int16_copy import Int16Copy
from .runtime.kv_cache import PackedCache
from .runtime.packed_texts import BATCH_TOKENS, batch_cells, batch_rows

BATCH_TEXTS = 256  # of a batch at most
MEAN, CLS, LAST = "mean", "cls", "last"
POOLINGS = (MEAN, CLS, LAST)
Rows = NDArray[np.float32]
Head = Callable[[ModuleType, Layers, Config, Weights, int, Value], Value]  # of an architecture's module, and its rows


class Encoder:
    """An open model that gives a row for each text, or for chosen tokens.

    `pooling` says what becomes of the states of a text's tokens: their mean, that of the first (cls) or of the last
    token; `tokens` keeps those of the tokens that `run` names. `head` makes the result of these rows; without one they
    are the result.
    """

    def __init__(
        self,
        gguf: GGUFFile,
        pooling: str,
        n_ctx: int,
        n_threads: int,
        head: Head | None = None,
        rows: int = BATCH_TEXTS,
    ) -> None:
        """`n_ctx`: tokens of a text at most; `rows`: rows of a batch at most.

        Raises BadFileError for a wrong or unsupported model, before any kernel is compiled or run.
        """
        self.gguf, self.pooling, self.n_ctx = gguf, pooling, n_ctx
        module = models.find(gguf.metadata.get("general.architecture"), str(gguf.path))
        config = Config(gguf.metadata, str(gguf.metadata["general.architecture"]), str(gguf.path))
        self._batch = Batch(batch_rows(n_ctx), rows)
        graph, self._cells = Graph(self._batch, n_threads), batch_cells(n_ctx)
        self._layers, self.weights = _States(graph, PackedCache(n_ctx, self._cells)), Weights(gguf)
        self._vocab, decodes = logits_size(gguf), models.kind(module) == models.DECODER
        self._layers.causal = config.flag("attention.causal", decodes)
        copy = Int16Copy(gguf.tensors, target().isa)  # a vector shows what 8 bits lose; the next token hardly does
        self._layers.int16 = copy
        if self._layers.causal and not decodes:
            raise config.fail(f"{config.arch}.attention.causal is true, which is not supported")
        states = self._layers.record(module, config, self.weights, self._vocab)
        if self._layers.states.state_bytes:
            raise UsageError(f"{gguf.path}: vectors of models with recurrent layers are not supported", "use another")
        out = self._layers.mean(states) if pooling == MEAN else self._layers.gathered(states)
        if head is not None:
            out = head(module, self._layers, config, self.weights, self._vocab, out)
        graph.keep(out)
        assert out.kept is not None
        self.width = out.width
        self._types = gguf.tensors["token_types.weight"].rows if "token_types.weight" in gguf.tensors else 2
        self._rows: Rows = out.kept.view(np.float32).reshape(rows, out.width)
        prepare([*graph.kernels, run_program, *copy.kernels()], n_threads)
        self._program = graph.finish()
        self._team = ThreadTeam(n_threads)
        copy.fill(self._team, gguf)

    def batches(self, lengths: Sequence[int]) -> Iterator[range]:
        """Ranges of consecutive texts, of these numbers of tokens, that fit a batch each."""
        first = tokens = cells = 0
        for i, n in enumerate(lengths):
            full = i - first == self._batch.max_outputs
            if i > first and (full or tokens + n > BATCH_TOKENS or cells + padded(n) > self._cells):
                yield range(first, i)
                first, tokens, cells = i, 0, 0
            tokens, cells = tokens + n, cells + padded(n)
        if first < len(lengths):
            yield range(first, len(lengths))

    def run(
        self,
        texts: Sequence[Sequence[int]],
        *,
        types: Sequence[Sequence[int]] | None = None,
        rows: Sequence[int] | None = None,
    ) -> Rows:
        """A row (rows, width) for each text of token ids, which must fit one batch, see `batches`.

        `types` are the parts of a pair that tokens belong to, 0 or 1; 0 by default. `rows` are the indices of the
        tokens whose states are wanted, counted through all texts, where `pooling` is `tokens`.

        Raises UsageError for a bad id, BadFileError for a model that gives what is not finite.
        """
        lengths = np.array([len(text) for text in texts], np.int64)
        ids = np.concatenate([np.asarray(text, np.int64) for text in texts])
        if not lengths.all() or lengths.max() > self.n_ctx:
            raise UsageError(f"a text must have 1 to {self.n_ctx} tokens")
        if ids.min() < 0 or ids.max() >= self._vocab:
            raise UsageError(f"token ids must be 0 to {self._vocab - 1}")
        starts = np.concatenate([[0], np.cumsum(lengths)])
        chosen = starts[:-1] if self.pooling != LAST else starts[1:] - 1
        if rows is not None:
            chosen = np.asarray(rows, np.int64)
        self._fill(ids, lengths, starts, chosen)
        if types is not None and self._types > 1:
            self._batch.token_types[: len(ids)] = np.concatenate([np.asarray(part, np.int64) for part in types])
        for table in self._layers.tables:
            table.fill(self._batch.positions[: len(ids)])
        self._team.run(self._program)
        return self._result(len(chosen))

    def close(self) -> None:
        """End the threads. The file stays open."""
        self._team.close()

    def _fill(
        self, ids: NDArray[np.int64], lengths: NDArray[np.int64], starts: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> None:
        batch, n = self._batch, len(ids)
        batch.resize(n, len(rows))
        cells = np.concatenate([[0], np.cumsum(-(-lengths // padded(1)) * padded(1))])[:-1]
        batch.ids[:n], batch.positions[:n] = ids, np.arange(n) - np.repeat(starts[:-1], lengths)
        batch.last_positions[:n] = np.repeat(lengths - 1, lengths)
        batch.sequence_starts[:n] = np.repeat(cells, lengths)
        batch.cells[:n] = batch.sequence_starts[:n] + batch.positions[:n]
        batch.token_types[:n] = 0
        batch.output_rows[: len(rows)] = rows
        if self.pooling == MEAN:
            batch.text_starts[: len(starts)] = starts

    def _result(self, rows: int) -> Rows:
        """A copy of the result (rows, width). Raises BadFileError if it is not finite, and names the tensor."""
        result = self._rows[:rows].copy()
        if not np.isfinite(result).all():
            raise self.weights.not_finite("the result is not finite")
        return result


class _States(Layers):
    """Records an architecture up to the states of all tokens; of a decoder those that its output matrix would read."""

    def record(self, module: ModuleType, config: Config, weights: Weights, vocab: int) -> Value:
        """States (tokens, width)."""
        kind = models.kind(module)
        record = module.encode if kind == models.ENCODER_DECODER else module.build
        try:
            made: Value = record(self, config, weights, vocab)
        except _Reached as reached:
            return reached.states
        if kind == models.DECODER:
            raise config.fail(f"{config.arch} gives no states")
        return made

    def outputs(self, x: Value) -> Value:
        """All rows of x: which of them are wanted is decided after the last norm."""
        return x

    def logits(self, x: Value, weight: QTensor, bias: QTensor | None = None) -> Value:
        """Ends the recording at the states x."""
        raise _Reached(x)


class _Reached(Exception):
    """The states that an output matrix would read."""

    def __init__(self, states: Value) -> None:
        super().__init__()
        self.states = states
