"""The encoder of a model that answers a text which it reads whole, such as T5.

It reads the text, and leaves keys and values of its states for the cross attention of the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from .errors import UsageError
from .layers import Layers
from .layers.metadata import Config
from .layers.weights import Weights
from .ops.kv.kv_type import padded
from .runtime.batch import Batch
from .runtime.executor import ThreadTeam
from .runtime.kv_cache import PackedCache
from .runtime.side_program import SideProgram


def check_plain(name: str, low_rank: object, observer: object) -> None:
    """Raises UsageError where a model with an encoder, `name`, is to be changed, or its products to be observed."""
    if low_rank is not None:
        said = f"{name} has an encoder, to which LoRA adapters are not added"
        raise UsageError(said, "merge them: llmlocal convert SRC OUT --lora ADAPTER")
    if observer is not None:
        said = f"{name} has an encoder, for which importance is not measured"
        raise UsageError(said, "quantize it without an importance matrix")


class SourceEncoder(SideProgram):
    """Reads the text of a sequence. `texts` are the ids that were read for each; `start` is the decoder's first id."""

    def __init__(self, module: ModuleType, c: Config, w: Weights, vocab: int, decoder: Layers) -> None:
        """Record the encoder that `module` defines, for the cross attention of `decoder`, which is recorded already.

        Raises BadFileError for a wrong file.
        """
        n_ctx = decoder.cache.n_ctx
        self.start = c.integer("decoder_start_token_id", 0, vocab - 1)
        self.texts: list[list[int]] = [[] for _ in range(decoder.cache.n_seqs)]
        super().__init__(Batch(n_ctx, 1), decoder.graph.threads)
        self._layers = Layers(self._graph, PackedCache(n_ctx, padded(n_ctx)))
        self._layers.causal = False
        self._cells = np.zeros(n_ctx, np.int64)  # of the decoder's cache
        states = module.encode(self._layers, c, w, vocab)
        for source in decoder.sources:
            k, v = self._layers.linears(states, source.keys, source.values)
            self._layers.store(source.cache, k, v, self._cells)

    def read(self, ids: Sequence[int], seq: int, first_cell: int, team: ThreadTeam) -> None:
        """Read a text for a sequence, whose cells begin at `first_cell`."""
        batch, n = self._batch, len(ids)
        batch.resize(n, 0)
        batch.ids[:n], batch.positions[:n], batch.last_positions[:n] = ids, np.arange(n), n - 1
        batch.sequence_starts[:n] = 0
        batch.cells[:n] = batch.positions[:n]
        self._cells[:n] = first_cell + batch.positions[:n]
        for table in self._layers.tables:
            table.fill(batch.positions[:n])
        self.texts[seq] = []
        team.run(self._program)
        self.texts[seq] = list(ids)
