"""llama.cpp as a benchmark's engine, run by an interpreter that has llama-cpp-python: MODEL THREADS N_CTX.

Knows llama.cpp's C interface. Batches of 512 as in llama-bench; everything else, flash attention and the f16 cache
included, is what the library chooses by itself.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence

import bench_protocol
import llama_cpp
import numpy as np

BATCH = 512
ERROR = 4  # ggml's log level


@llama_cpp.llama_log_callback
def _log(level: int, text: bytes, _: object) -> None:
    if level == ERROR:
        sys.stderr.write(text.decode(errors="replace"))


class LlamaCpp:
    """A model with one context, n_batch = n_ubatch = 512, as many threads for prompts as for single tokens."""

    def __init__(self, path: str, threads: int, n_ctx: int) -> None:
        llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, BATCH, BATCH
        params.n_threads = params.n_threads_batch = threads
        params.n_outputs_max = BATCH
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise SystemExit(f"llama.cpp cannot make a context of {n_ctx} tokens")
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self.info = f"llama-cpp-python {llama_cpp.__version__}; {llama_cpp.llama_print_system_info().decode().strip()}"

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def feed(self, ids: Sequence[int]) -> None:
        for i in range(0, len(ids), BATCH):
            part = ids[i : i + BATCH]
            tokens = (llama_cpp.llama_token * len(part))(*part)
            self._decode(llama_cpp.llama_batch_get_one(tokens, len(part)))
        llama_cpp.llama_synchronize(self._context)

    def save_logits(self, ids: Sequence[int], path: str) -> None:
        rows = []
        batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        for i in range(0, len(ids), BATCH):
            part = ids[i : i + BATCH]
            batch.n_tokens = len(part)
            for j, token in enumerate(part):
                batch.token[j], batch.pos[j], batch.logits[j] = token, i + j, 1
                batch.n_seq_id[j], batch.seq_id[j][0] = 1, 0
            self._decode(batch)
            logits = llama_cpp.llama_get_logits(self._context)
            rows.append(np.ctypeslib.as_array(logits, (len(part), self.n_vocab)).copy())
        llama_cpp.llama_batch_free(batch)
        np.save(path, np.concatenate(rows))

    def _decode(self, batch: llama_cpp.llama_batch) -> None:
        if code := llama_cpp.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode returned {code}")


if __name__ == "__main__":
    bench_protocol.serve(LlamaCpp(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
