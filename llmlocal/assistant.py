"""The assistant of a model, a second file: it predicts further tokens by the keys and values of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from . import models
from .gguf.reader import GGUFFile
from .layers import Layers
from .layers.key_range import KeyRange
from .layers.metadata import Config
from .layers.weights import Weights
from .predictor import Pairs, Predictor
from .runtime.batch import Batch


class Assistant(Predictor):
    """Reads one pair for each sequence: a token that the model has not read, and what it made of the one before.

    It has no keys of its own, so that there is nothing to read before. Where its tokens are continued, the position
    stays, and what it made itself takes the place of the model's state.
    """

    reads = False

    def __init__(self, file: GGUFFile, weights: Weights, vocab: int, model: Layers) -> None:
        """Record the assistant in `file` for a `model` with `weights`, which is recorded already.

        Raises BadFileError for a wrong file, UsageError for the assistant of another model.
        """
        made, seqs = model.made, model.cache.n_seqs
        assert made is not None
        embedding = weights.matrix("token_embd.weight", vocab, made.width)
        arch, path = file.metadata.get("general.architecture"), str(file.path)
        module, c, w = models.find(arch, path), Config(file.metadata, str(arch), path), Weights(file)
        record = lambda g: module.assist(g, c, w, vocab, embedding, model.last_keys)  # noqa: E731
        super().__init__(Batch(seqs, seqs), model.cache, model, record)

    def _run(self, parts: Sequence[Pairs], outputs: Sequence[int] | NDArray[np.int64]) -> None:
        if not parts:
            return
        batch, n, cache = self._batch, len(parts), self._cache
        seqs, read = [part.seq for part in parts], [part.at for part in parts]
        batch.fill([part.ids[0] for part in parts], read, [cache.start(seq) for seq in seqs], list(outputs))
        positions = batch.positions[:n]
        cache.ring.fill(seqs, positions)
        cache.prefixes.fill(seqs, positions + 1, batch.prefix_starts, batch.prefix_lengths)
        for table in self._layers.tables:  # the pair has the position behind the last key
            table.fill(positions if isinstance(table, KeyRange) else positions + 1)
        for i, part in enumerate(parts):
            self._inputs[i] = part.states[0]
        assert self._team is not None, "the model has read nothing"
        self._team.run(self._program)
