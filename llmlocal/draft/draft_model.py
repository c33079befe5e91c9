"""A draft: the engine of a smaller model, which follows a text and continues it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from .. import models
from ..engine import Engine, Logits
from ..errors import UsageError
from ..gguf import GGUFFile
from ..gguf.model_file import open_model
from ..model_info.memory import memory
from ..model_info.recurrent_memory import state_memory
from ..model_info.weight_memory import copies_weights
from ..model_info.work import work
from ..runtime.shared_prefixes import common_prefix
from ..speculation.draft import NEAR, Choose, Guess
from ..text import escaped
from .probability import probability
from .vocabulary import difference


class DraftModel:
    """A smaller model with the vocabulary of `target`; `speculation.draft.Draft` says what it is for.

    `ends` are the ids after which nothing is proposed. Its engine has as many sequences as that of the target, which
    hold the texts that were continued last; what another text shares with one of them is not read again.
    """

    def __init__(self, gguf: GGUFFile, target: GGUFFile, ends: Collection[int]) -> None:
        """Raises UsageError for a file that cannot be a draft of `target`, BadFileError for an unknown architecture."""
        check_draft(gguf, target)
        self.gguf, self._ends = gguf, ends
        self.share = work(gguf.tensors, gguf.metadata).nbytes / max(work(target.tensors, target.metadata).nbytes, 1.0)
        self._engine: Engine | None = None
        self._rows = 0  # of the target's logits

    @classmethod
    def open(cls, path: Path | str, target: GGUFFile, ends: Collection[int]) -> DraftModel:
        """Open a file, whose engine is not there yet. Raises NotFoundError, BadFileError, UsageError."""
        gguf = open_model(path)
        try:
            return cls(gguf, target, ends)
        except BaseException:
            gguf.close()
            raise

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.gguf.path.stem

    def needed(self, n_ctx: int, kv_type: str, n_seqs: int = 1) -> int:
        """Bytes of memory that it takes besides those of the target."""
        estimate = memory(self.gguf.metadata, self.gguf.tensors, n_ctx, kv_type, n_seqs)
        return estimate.total - estimate.program

    def record(self, target: Engine, weights: str, kv_type: str, free: int) -> Engine:
        """Its engine for texts of `target`, not loaded yet, where `free` bytes of memory are free."""
        gguf, n_ctx, n_seqs = self.gguf, target.n_ctx, target.n_seqs
        needed = memory(gguf.metadata, gguf.tensors, n_ctx, kv_type, n_seqs).total
        self._engine = Engine.open(
            gguf,
            n_ctx=n_ctx,
            n_threads=target.n_threads,
            n_seqs=n_seqs,
            max_outputs=n_seqs,
            kv_type=kv_type,
            copy_weights=copies_weights(weights, gguf.tensors, needed, free),
            load=False,
        )
        self._unused = deque(range(n_seqs))  # sequences, the one that was not used for the longest time first
        self._rows = target.n_vocab
        return self._engine

    @property
    def engine(self) -> Engine:
        """Its engine, once it is recorded."""
        assert self._engine is not None
        return self._engine

    def unread(self, ids: Sequence[int]) -> int:
        """How many tokens of a text have to be read before it is continued, at least 1."""
        return len(ids) - self._place(ids)[1]

    def read(self, ids: Sequence[int], most: int) -> int:
        """Read at most `most` tokens of a text, never its last one; returns how many it were."""
        seq, shared = self._place(ids)
        part = ids[shared : min(shared + most, len(ids) - 1)]
        if not part or max(part) >= self.engine.n_vocab:
            return 0
        self._use(seq, shared)
        self.engine.prefill(part, seq)
        return len(part)

    def continuations(self, texts: Sequence[Sequence[int]], choose: Sequence[Choose]) -> Iterator[list[Guess | None]]:
        """Tokens after each text, one of each by one run, with the draft's probability; None where nothing follows.

        Raises BadFileError where its logits are not finite.
        """
        engine, parts = self.engine, dict[int, tuple[int, Sequence[int]]]()  # by the number of the text
        for i, ids in enumerate(texts):
            seq, shared = self._place(ids, [seq for seq, _ in parts.values()])
            part = ids[shared:]
            self._use(seq, shared)
            if len(part) > NEAR and max(part) < engine.n_vocab:
                engine.prefill(part[:-1], seq)
                part = part[-1:]
            parts[i] = seq, part
        proposed: list[list[int]] = [[] for _ in texts]
        while parts := {i: part for i, part in parts.items() if self._fits(*part)}:
            rows = engine.checked(engine.run([*parts.values()], range(len(parts))))
            guesses, after = list[Guess | None](), dict[int, tuple[int, Sequence[int]]]()
            made = dict(zip(parts, rows, strict=True))
            for i in range(len(texts)):
                guesses.append(None)
                if i in made:
                    logits = self._row(made[i])
                    id = choose[i](logits, proposed[i])
                    guesses[i] = id, probability(logits, id)
                    proposed[i].append(id)
                    if id not in self._ends:
                        after[i] = parts[i][0], [id]
            yield guesses
            parts = after

    def close(self) -> None:
        """Close the engine and the file."""
        if self._engine is not None:
            self._engine.close()
        self.gguf.close()

    def _place(self, ids: Sequence[int], taken: Sequence[int] = ()) -> tuple[int, int]:
        """A sequence for a text, not one of those `taken`, and how many of the text's tokens it holds.

        It is the one that holds most of them, unless that would lose more of another text.
        """
        free = [seq for seq in self._unused if seq not in taken]
        shared = {seq: common_prefix(self.engine.history(seq), ids[:-1]) for seq in free}
        best = max(free, key=shared.__getitem__)
        if 2 * shared[best] < self.engine.length(best):
            best = free[0]
        return best, shared[best]

    def _use(self, seq: int, length: int) -> None:
        """Go on in a sequence after its first `length` tokens."""
        self._unused.remove(seq)
        self._unused.append(seq)
        self.engine.truncate(length, seq)

    def _fits(self, seq: int, part: Sequence[int]) -> bool:
        """Whether tokens can be appended to a sequence."""
        return max(part) < self.engine.n_vocab and self.engine.length(seq) + len(part) <= self.engine.n_ctx

    def _row(self, logits: Logits) -> Logits:
        """Logits with as many entries as those of the target, -inf for tokens that only it has."""
        if len(logits) >= self._rows:
            return logits[: self._rows]
        row = np.full(self._rows, -np.inf, np.float32)
        row[: len(logits)] = logits
        return row


def check_draft(gguf: GGUFFile, target: GGUFFile) -> None:
    """Raises UsageError where the one file cannot propose tokens for the other, BadFileError for unknown ones."""
    name = escaped(str(gguf.path))
    if models.kind(models.find(gguf.metadata.get("general.architecture"), str(gguf.path))) != models.DECODER:
        raise UsageError(f"{name}: has an encoder, a draft has to continue texts", "name another --draft")
    if state_memory(gguf.metadata):
        said = "is recurrent: a draft has to drop the tokens that did not come true"
        raise UsageError(f"{name}: {said}", "name another --draft")
    if found := difference(gguf.metadata, target.metadata):
        said = f"cannot be a draft of {escaped(target.path.name)}: {found}"
        raise UsageError(f"{name}: {said}", "a draft is a smaller model of the same family; --draft auto finds one")
