"""What predicts further tokens beside the engine (MTP), by what the model made of its tokens: a program of its own.

It reads pairs: a token, and what the model made of the one before it. The last pair gives the logits of the token after
it. A block of the model (`PredictingBlock`) has sequences of pairs in a cache of its own. They may begin anywhere in a
text, since what the model made of tokens is only known of those that it has read here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layers import Layers
from .layers.decoder import Head
from .layers.metadata import Config
from .layers.weights import Weights
from .runtime.batch import Batch
from .runtime.buffers import aligned
from .runtime.executor import ThreadTeam
from .runtime.kv_cache import KVCache
from .runtime.side_program import SideProgram

PIECE = 256  # pairs of one run at most
NEAR = 4  # of a sequence in a run with others
Floats = NDArray[np.float32]


class Pairs(NamedTuple):
    """Tokens `ids` of a sequence, each with what the model made of the one before, `states` (tokens, width).

    The first is number `at` of the block's own sequence; where it has none, `at` is the position of its state.
    """

    seq: int
    ids: Sequence[int]
    states: Floats
    at: int


class Predictor(SideProgram):
    """What predicts, and what the model made of its tokens: `states` (n_seqs, n_ctx, width) by sequence and position.

    `reads`: whether it has sequences of its own, which follow those of the model.
    """

    reads = True

    def __init__(self, batch: Batch, cache: KVCache, model: Layers, record: Callable[[Layers], Head]) -> None:
        """`record` it into layers with a `cache`, for a `model` that is recorded already.

        Raises what `record` raises.
        """
        super().__init__(batch, model.graph.threads)
        self._cache = cache
        self._layers = Layers(self._graph, cache, model.place, prefetch_bytes=model.prefetch_bytes)
        head = record(self._layers)
        assert model.made is not None and model.made.kept is not None
        assert head.states.kept is not None and head.last.kept is not None
        width = head.states.width
        self._made = model.made.kept.view(np.float32).reshape(-1, width)
        self._inputs = head.states.kept.view(np.float32).reshape(-1, width)
        self._last = head.last.kept.view(np.float32).reshape(-1, width)
        self._head = head
        assert len(self._last) == cache.n_seqs
        shape = cache.n_seqs, cache.n_ctx, width
        self.states = aligned(4 * cache.n_seqs * cache.n_ctx * width).view(np.float32).reshape(shape)
        self._team: ThreadTeam | None = None  # that ran the model last
        self.first = [0] * cache.n_seqs  # the position from which on the states of a sequence are known

    def saw(self, seqs: Sequence[int], positions: NDArray[np.int64], team: ThreadTeam) -> None:
        """`team` has run the model on a batch: tokens of sequences `seqs` at `positions`, (tokens,) each."""
        self._team = team
        self.states[seqs, positions] = self._made[: len(seqs)]
        for seq, at in zip(seqs, positions.tolist(), strict=True):
            self.first[seq] = min(self.first[seq], at)

    def forget(self, length: int, seq: int) -> None:
        """What the first `length` tokens of a sequence became is not known; it is of those that will be read."""
        self.first[seq] = length

    def copied(self, length: int, source: int, target: int) -> None:
        """The first `length` tokens of a sequence are those of another one."""
        first = self.first[target] = min(self.first[source], length)
        self.states[target, first:length] = self.states[source, first:length]

    def read(self, ids: Sequence[int], states: Floats, at: int, seq: int = 0) -> None:
        """Read pairs of tokens `ids` and `states` (tokens, width), the first as number `at` of the sequence.

        Pairs behind that are dropped.
        """
        size = self._batch.ubatch
        for start in range(0, len(ids), size):
            self._run([Pairs(seq, ids[start : start + size], states[start : start + size], at + start)], [])

    def predict(self, ids: Sequence[int], states: Floats, at: int, seq: int = 0) -> tuple[Floats, Floats]:
        """As `read`; the logits (vocab,) after the last pair, and the state (width,) for a pair with the next token.

        They are copies, and may hold what is not finite.
        """
        return self.predict_each([Pairs(seq, ids, states, at)])[0]

    def predict_each(self, parts: Sequence[Pairs]) -> list[tuple[Floats, Floats]]:
        """As `predict` for pairs of several sequences, the last ones of which are read together."""
        last = []
        for seq, ids, states, at in parts:
            early = max(len(ids) - NEAR, 0)
            self.read(ids[:early], states[:early], at, seq)
            last.append(Pairs(seq, ids[early:], states[early:], at + early))
        self._run(last, np.cumsum([len(part.ids) for part in last]) - 1)
        return [(self._logits(i, len(parts)), self._last[i].copy()) for i in range(len(parts))]

    def _logits(self, part: int, parts: int) -> Floats:
        """A copy of the logits (vocab,) of one of so many sequences."""
        if self._head.clusters is not None:
            return self._head.clusters.of(part, parts)
        logits = self._head.logits
        assert logits is not None and logits.kept is not None
        found: Floats = logits.kept.view(np.float32).reshape(-1, logits.width)[part].copy()
        return found

    @abstractmethod
    def _run(self, parts: Sequence[Pairs], outputs: Sequence[int] | NDArray[np.int64]) -> None:
        """Read pairs, a batch at most, with the results after those with the indices `outputs`."""


class PredictingBlock(Predictor):
    """The block of a model that predicts further tokens."""

    def __init__(self, module: ModuleType, c: Config, w: Weights, vocab: int, model: Layers) -> None:
        """Record the block as `module` defines it. Raises BadFileError for a wrong file."""
        cache = model.cache
        own = KVCache(cache.n_ctx, cache.n_seqs, cache.kv_type.name)
        batch = Batch(max(min(PIECE, cache.n_ctx), NEAR * cache.n_seqs), cache.n_seqs)
        super().__init__(batch, own, model, lambda g: module.predict(g, c, w, vocab))

    def _run(self, parts: Sequence[Pairs], outputs: Sequence[int] | NDArray[np.int64]) -> None:
        batch, at = self._batch, 0
        ids = [id for part in parts for id in part.ids]
        places = [part.at + i for part in parts for i in range(len(part.ids))]
        starts = [self._cache.start(part.seq) for part in parts for _ in part.ids]
        batch.fill(ids, places, starts, list(outputs))
        for table in self._layers.tables:
            table.fill(batch.positions[: len(ids)])
        for part in parts:
            self._inputs[at : at + len(part.ids)] = part.states
            at += len(part.ids)
        assert self._team is not None, "the model has read nothing"
        self._team.run(self._program)
