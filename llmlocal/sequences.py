"""What an engine holds of its sequences: tokens, keys and values, recurrent states, windows, and how much of it stays.

The engine reads tokens; here is told what it need not read again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .predictor import Predictor
from .quant.kernels.matmul import TILED_TOKENS
from .runtime.checkpoints import TAIL, agreed
from .runtime.kv_cache import KVCache
from .runtime.ring import KeptWindow, Ring
from .runtime.shared_prefixes import SharedPrefixes, common_prefix
from .runtime.state_cache import StateCache
from .source_encoder import SourceEncoder


class Sequences(ABC):
    """Sequences, numbered from 0, each with its own tokens and cells."""

    prefixes: SharedPrefixes  # what sequences share
    ring: Ring  # what is held of sequences in layers with a window
    predictor: Predictor | None
    _tokens: list[list[int]]  # what the decoder has read
    _cache: KVCache
    _states: StateCache
    _source: SourceEncoder | None

    @abstractmethod
    def _check(self, tokens: Sequence[int], seq: int) -> None:
        """Raises PromptTooLongError, UsageError for a wrong sequence, no tokens, or a bad id."""

    @abstractmethod
    def _read(self, tokens: Sequence[int], seq: int, *, outputs: int) -> None:
        """Append tokens, with the logits of the last `outputs` (0 or 1) of them."""

    def length(self, seq: int = 0) -> int:
        """Tokens of a sequence: those in the cache, and the text that an encoder has read in place of a first token."""
        text = self._text(seq)
        return len(text) + len(self._tokens[seq]) - bool(text)

    def history(self, seq: int = 0) -> list[int]:
        """The tokens of a sequence."""
        text = self._text(seq)
        return [*text, *self._tokens[seq][bool(text) :]]

    @property
    def reads_whole(self) -> bool:
        """Whether an encoder reads the prompt, so that it cannot be read in pieces, and no part of it be kept."""
        return self._source is not None

    def _text(self, seq: int) -> list[int]:
        """The text that an encoder has read for a sequence; empty in models without one."""
        return self._source.texts[seq] if self._source and self._tokens[seq] else []

    def _begins(self, seq: int) -> bool:
        """Whether the next tokens of a sequence are a text for the encoder."""
        return self.reads_whole and not self._tokens[seq]

    def cells(self, n: int, seq: int = 0) -> list[NDArray[np.uint8]]:
        """The cache memory of the first `n` tokens: views, see `KVCache.first_cells`.

        They may be written while the sequence is empty. Layers with a window are not among them, see `ring`.
        """
        self.prefixes.own(seq)
        return self._cache.first_cells(n, seq)

    def states(self, seq: int = 0) -> dict[int, list[NDArray[np.uint8]]]:
        """The recurrent states of a sequence by position, see `StateCache.stored`; empty for models without."""
        return self._states.stored(self.length(seq), seq)

    @property
    def state_bytes(self) -> int:
        """Bytes of one recurrent state of all layers, 0 for models without."""
        return self._states.state_bytes

    def adopt(
        self,
        tokens: Sequence[int],
        seq: int = 0,
        states: Mapping[int, NDArray[np.uint8]] = {},
        windows: Sequence[KeptWindow] = (),
    ) -> None:
        """Declare that the caller has written the keys and values of `tokens` to the first cells of a sequence.

        `states` are recurrent states by position, of which the last is that after all `tokens`; see `states`. `windows`
        are those of layers with a window, of which the last ends with `tokens`. Raises as `prefill` does.
        """
        self._tokens[seq] = []
        self.prefixes.before_write(seq, 0)
        self._states.restore({}, seq)
        self.ring.restore((), seq)
        if self.predictor:
            self.predictor.forget(len(tokens), seq)
        if tokens:
            self._check(tokens, seq)
            self._states.restore(states, seq)
            self.ring.restore(windows, seq)
            self._tokens[seq] = list(tokens)

    def copy_prefix(self, tokens: Sequence[int], source: int, target: int) -> int:
        """Make sequence `target` what `reuse` would keep of sequence `source`; returns its number of tokens.

        Cells are shared, see `SharedPrefixes`.
        """
        kept = self.reusable(tokens, source)
        states = {end: np.concatenate(state) for end, state in self.states(source).items() if end <= kept}
        self.adopt(tokens[:kept], target, states, self.ring.reaching(kept, self.length(source), source))
        self.prefixes.share(source, target, kept)
        if self.predictor:
            self.predictor.copied(kept, source, target)
        return kept

    def truncate(self, length: int, seq: int = 0) -> None:
        """Drop the tokens of a sequence from position `length` on.

        With recurrent layers, tokens since the last checkpoint are read again; so they are where the window before
        `length` is no longer held.
        """
        if length >= self.length(seq):
            return
        tokens = self.history(seq)[:length]
        self._rewind(length, seq)
        self._keep_at(length, seq)
        self._read(tokens[self.length(seq) :], seq, outputs=0)

    def reuse(self, tokens: Sequence[int], seq: int = 0) -> int:
        """Keep the cached tokens that `tokens` starts with, and return their number.

        At least TILED_TOKENS are left to be read again, so that their logits are those of a first reading, bit for bit;
        fewer than that are not kept either, because a shorter prompt is read in another way. With recurrent layers,
        only the tokens up to a checkpoint are kept; another one is made when the end of `tokens` is near. Where the
        window before is no longer held, it is the same.
        """
        self._rewind(self._shared(tokens, seq), seq)
        self._keep_at(len(tokens) - TAIL, seq)
        return self.length(seq)

    def reusable(self, tokens: Sequence[int], seq: int = 0) -> int:
        """How many tokens `reuse` would keep."""
        return self._reachable(self._shared(tokens, seq), seq)

    def behind_window(self, tokens: Sequence[int], seq: int = 0) -> int:
        """How many tokens `reuse` would keep besides, were all keys of layers with a window still held."""
        shared, current = self._shared(tokens, seq), len(self._tokens[seq])
        return self._states.reachable(shared, current, seq) - self._reachable(shared, seq)

    def _shared(self, tokens: Sequence[int], seq: int) -> int:
        """The number of cached tokens that `tokens` starts with and that may be kept."""
        if self.reads_whole:
            return 0
        kept = min(common_prefix(self._tokens[seq], tokens), len(tokens) - TILED_TOKENS)
        return kept if kept >= TILED_TOKENS else 0

    def _rewind(self, length: int, seq: int) -> None:
        """Drop the tokens from position `length` on, and those before it that have to be read again."""
        text = self._text(seq)
        kept = max(length - len(text) + bool(text), 0)  # nothing is left of a sequence whose text is cut
        kept = self._reachable(kept, seq)
        self._states.rewind(kept, len(self._tokens[seq]), seq)
        self.ring.rewind(kept, seq)
        del self._tokens[seq][kept:]

    def _reachable(self, length: int, seq: int) -> int:
        """The most cached tokens of a sequence, `length` at most, that it can go on from."""
        current, ways = len(self._tokens[seq]), (self._states, self.ring)
        return agreed(min(length, current), *(lambda n, way=way: way.reachable(n, current, seq) for way in ways))

    def _keep_at(self, position: int, seq: int) -> None:
        """Keep a checkpoint at a position that will be passed."""
        self._states.keep_at(position, seq)
        self.ring.keep_at(position, seq)
