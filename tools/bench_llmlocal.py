"""llmlocal as a benchmark's engine: MODEL THREADS N_CTX. Knows the engine's interface and nothing behind it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import bench_protocol
import numpy as np


class Llmlocal:
    """The adapter: the only place of the tools that says how `llmlocal.engine` is driven."""

    def __init__(self, path: str, threads: int, n_ctx: int) -> None:
        from llmlocal.engine import Engine
        from llmlocal.gguf import open_gguf
        from llmlocal.model_info.machine import free_memory
        from llmlocal.model_info.memory import memory
        from llmlocal.model_info.weight_memory import copies_weights

        with open_gguf(path) as gguf:
            needed = memory(gguf.metadata, gguf.tensors, n_ctx).total
            copy = copies_weights("auto", gguf.tensors, needed, free_memory())
        self._engine: Any = Engine.open(path, n_ctx=n_ctx, n_threads=threads, max_outputs=64, copy_weights=copy)
        self.n_vocab: int = self._engine.n_vocab
        self._engine.prefill(bench_protocol.token_ids(2, self.n_vocab))
        self.info = f"llmlocal {version('llmlocal')}, weights {self._engine.pages()}"

    def clear(self) -> None:
        self._engine.truncate(0)

    def feed(self, ids: Sequence[int]) -> None:
        if len(ids) == 1:
            self._engine.run([(0, ids)], [0])
        else:
            self._engine.prefill(ids)

    def save_logits(self, ids: Sequence[int], path: str) -> None:
        np.save(path, self._engine.all_logits(ids))


if __name__ == "__main__":
    bench_protocol.serve(Llmlocal(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
