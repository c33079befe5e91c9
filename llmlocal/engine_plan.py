"""How the engine of a session is opened: in which form its weights and states are kept, by the memory that is free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from .engine import Engine
from .gguf import GGUFFile
from .model_info.expert_memory import expert_reads
from .model_info.machine import free_memory
from .model_info.memory import memory
from .model_info.memory_limit import check_memory
from .model_info.predictor_memory import assistant_memory, predictor_memory
from .model_info.recurrent_memory import between_memory
from .model_info.weight_memory import copies_weights
from .runtime.weight_copy import Shaped
from .speculation.speculation import MOST

if TYPE_CHECKING:
    from .draft.draft_model import DraftModel
    from .layers.low_rank import LowRank


@dataclass(frozen=True)
class EnginePlan:
    """What was asked for, see `Session.open`.

    `tensors` are those of `gguf`, with the factors of adapters; `changes` gives what adapters change, once for each
    engine. `predicts`: the block that predicts further tokens is recorded where it fits; `assistant` is an open file in
    its place.
    """

    gguf: GGUFFile
    tensors: Mapping[str, Shaped]
    n_ctx: int
    n_threads: int | None
    n_seqs: int
    max_outputs: int
    kv_type: str
    weights: str
    speculate: str
    predicts: bool
    assistant: GGUFFile | None
    force: bool
    changes: Callable[[], LowRank | None]

    @cached_property
    def needed(self) -> int:
        """Bytes of memory that a run takes, all experts included."""
        return memory(self.gguf.metadata, self.tensors, self.n_ctx, self.kv_type, self.n_seqs).total

    @property
    def note(self) -> str:
        """What the user should know of what is read from the disk; empty where all fits."""
        return expert_reads(self.gguf.metadata, self.tensors, self.needed, free_memory()).note

    def draft_memory(self, draft: DraftModel | None) -> int:
        """Bytes that a draft, or the assistant, takes besides, 0 without either."""
        if self.assistant:
            return assistant_memory(self.assistant.tensors.values(), self.gguf.metadata, self.n_ctx, self.n_seqs)
        return draft.needed(self.n_ctx, self.kv_type, self.n_seqs) if draft else 0

    def record(self, draft: DraftModel | None = None) -> Engine:
        """The engine, not yet loaded, and that of the draft. Raises as `Engine.open`, ResourceError for too little
        memory.
        """
        metadata, n_ctx, kv_type, n_seqs = self.gguf.metadata, self.n_ctx, self.kv_type, self.n_seqs
        free, draft_memory = free_memory(), self.draft_memory(draft)
        if not self.force:
            check_memory(metadata, self.tensors, n_ctx, kv_type, free, draft_memory, n_seqs)
        left = free - draft_memory
        reads = expert_reads(metadata, self.tensors, self.needed, left)
        copied = copies_weights(self.weights, self.tensors, self.needed, left)
        verified = min(n_ctx, MOST + 1) if self.speculate != "off" else 1
        left -= self.needed
        if (between := between_memory(metadata, n_seqs, verified)) > left:
            verified, between = 1, 0
        fits = predictor_memory(metadata, n_ctx, kv_type, n_seqs) <= left - between
        engine = Engine.open(
            self.gguf,  # not its name, which may be another file's by now
            n_ctx=n_ctx,
            n_threads=self.n_threads,
            n_seqs=n_seqs,
            max_outputs=max(self.max_outputs, verified),
            kv_type=kv_type,
            copy_weights=copied,
            low_rank=self.changes(),
            prefetch_bytes=reads.prefetch_bytes,
            verified=verified,
            predicts=self.predicts and verified > 1 and fits,
            assistant=self.assistant if verified > 1 else None,
            load=False,
        )
        if draft:
            draft.record(engine, self.weights, kv_type, free - self.needed)
        return engine
