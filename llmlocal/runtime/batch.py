"""The tokens that one run of a program reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..quant.kernels.matmul import TILED_TOKENS


def batch_sizes(tokens: int, most: int) -> Iterator[int]:
    """Sizes of the batches in which a prompt is read, `most` at most and none below TILED_TOKENS if that can be.

    So every token of a prompt is computed in the same way, wherever the prompt is cut. A prompt of fewer tokens is one
    batch.
    """
    while tokens:
        size = min(tokens, most)
        if 0 < tokens - size < TILED_TOKENS and most >= 2 * TILED_TOKENS:
            size = tokens - TILED_TOKENS
        yield size
        tokens -= size


def numbered(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """For each token, the number of tokens of the same sequence before it in the batch, and the sequence."""
    seen: dict[int, int] = {}
    out = []
    for seq in seqs:
        out.append((seen.get(seq, 0), seq))
        seen[seq] = seen.get(seq, 0) + 1
    return out


class Batch:
    """What a run reads besides weights and the cache: the number of tokens, their ids, positions and cells.

    `ids`, `positions`, `sequence_starts` (first cache cell of each token's sequence) and `cells` (where its key and
    value are stored) are int64 (ubatch,), where `ubatch` is the largest batch. `output_rows`, int64 (max_outputs,),
    are the indices of the tokens whose logits are computed. Kernels are given the addresses of these arrays when the
    graph is recorded, so one program serves every batch size. `prefix_starts` and `prefix_lengths` (ubatch,) say where
    the beginning of each token's sequence lies if that is shared, see `SharedPrefixes`.

    For encoders, which read whole texts: `last_positions` (ubatch,) is the position of the last token of each token's
    text, `token_types` (ubatch,) the part of a pair that it belongs to, and `text_starts` (max_outputs + 1,) the index
    of the first token of each text, ending with the number of tokens.

    For decoders with cross attention: `last_sources` (ubatch,) is the position of the last token of the text that an
    encoder read for each token's sequence.
    """

    def __init__(self, ubatch: int, max_outputs: int) -> None:
        self.counts = np.zeros(2, np.int64)
        self.ids, self.positions, self.sequence_starts, self.cells = (np.zeros(ubatch, np.int64) for _ in range(4))
        self.prefix_starts, self.prefix_lengths = np.zeros(ubatch, np.int64), np.zeros(ubatch, np.int64)
        self.output_rows = np.zeros(max_outputs, np.int64)
        self.last_positions, self.token_types = np.zeros(ubatch, np.int64), np.zeros(ubatch, np.int64)
        self.last_sources = np.zeros(ubatch, np.int64)
        self.text_starts = np.zeros(max_outputs + 1, np.int64)
        self.ubatch, self.max_outputs = ubatch, max_outputs
        self._multiples: dict[int, NDArray[np.int64]] = {}

    def fill(self, ids: Sequence[int], positions: Sequence[int], starts: Sequence[int], outputs: Sequence[int]) -> None:
        """Set the tokens of the next run, each with its position and its sequence's first cell, and the outputs."""
        n = len(ids)
        self.resize(n, len(outputs))
        self.ids[:n], self.positions[:n], self.sequence_starts[:n] = ids, positions, starts
        self.cells[:n] = self.sequence_starts[:n] + self.positions[:n]
        self.output_rows[: len(outputs)] = outputs

    def resize(self, tokens: int, outputs: int) -> None:
        """Set the number of tokens of the next run, and of how many of them logits are computed."""
        self.counts[:] = tokens, outputs
        for factor, count in self._multiples.items():
            count[0] = factor * tokens

    def tokens_times(self, factor: int) -> int:
        """Address of an int64 that holds `factor` times the number of tokens."""
        return int(self._multiples.setdefault(factor, np.zeros(1, np.int64)).ctypes.data)

    @property
    def tokens(self) -> int:
        """Address of the number of tokens, int64."""
        return int(self.counts.ctypes.data)

    @property
    def outputs(self) -> int:
        """Address of the number of outputs, int64."""
        return int(self.counts.ctypes.data) + 8
