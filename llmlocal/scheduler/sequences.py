"""Which sequence of the engine a prompt is answered in: the one that holds most of its beginning already."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine import Engine
from ..generation.prompt_cache import MIN_TOKENS, PromptCache

WORTH_COPYING = 16  # tokens of a prefix that are copied from another sequence rather than read again


class Sequences:
    """The sequences of an engine, of which some are taken. What a sequence holds stays there when it is given back.

    With a `cache` prompts come from disk, too, and a text that was used more than once goes there before another takes
    its place; not while others are answered, who would wait for the disk.
    """

    def __init__(self, engine: Engine, cache: PromptCache | None = None) -> None:
        self._engine, self._cache = engine, cache
        self._useful: set[int] = set()  # sequences whose text was used more than once
        self._free = list(range(engine.n_seqs))  # least recently used first

    @property
    def free(self) -> int:
        """How many sequences are free."""
        return len(self._free)

    def take(self, ids: Sequence[int]) -> tuple[int, int, int]:
        """Take a free sequence for the prompt `ids`; returns it, how many tokens it holds of the prompt, and how many
        more of them are read again because sliding windows no longer reach back to them.

        A beginning that another sequence holds is copied. A free sequence with a longer text that only begins like the
        prompt is left as it is, if another one is free.
        """
        engine = self._engine
        kept = {seq: engine.reusable(ids, seq) for seq in range(engine.n_seqs)}
        source = max(kept, key=lambda seq: (kept[seq], seq in self._free))
        own = max(self._free, key=lambda seq: kept[seq])
        goes_on = kept[own] == kept[source] and 2 * kept[own] >= engine.length(own)
        seq = own if goes_on and kept[own] else self._free[0]
        alone, lost = len(self._free) == engine.n_seqs, engine.length(seq) - kept[seq]
        if self._cache is not None and alone and seq in self._useful and lost >= MIN_TOKENS:
            self._cache.store(engine, seq)
        if kept[source] >= kept[seq] + WORTH_COPYING and source != seq:
            engine.copy_prefix(ids, source, seq)
        if self._cache is not None and engine.reusable(ids, seq) + MIN_TOKENS <= len(ids):
            self._cache.restore(engine, ids, seq)
        read_again = engine.behind_window(ids, seq)
        reused = engine.reuse(ids, seq)
        self._free.remove(seq)
        (self._useful.add if reused >= MIN_TOKENS else self._useful.discard)(seq)
        return seq, reused, read_again

    def give_back(self, seq: int) -> None:
        """Free a sequence; it is the last one to be taken for another text."""
        self._free.append(seq)

    def save(self) -> None:
        """Store what all sequences hold, at the end."""
        if self._cache is not None:
            for seq in range(self._engine.n_seqs):
                self._cache.store(self._engine, seq)

    def emptied(self, n: int) -> list[int]:
        """The first `n` free sequences, or all there are, emptied. They stay free."""
        chosen = self._free[: max(0, n)]
        self._useful.difference_update(chosen)
        for seq in chosen:
            self._engine.adopt((), seq)
        return chosen

    def forget(self) -> None:
        """Empty all sequences, taken ones too: what they hold cannot be trusted any more."""
        self._useful.clear()
        for seq in range(self._engine.n_seqs):
            self._engine.adopt((), seq)
