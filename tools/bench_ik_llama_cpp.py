"""ik_llama.cpp as a benchmark's engine, run by an interpreter that has ik-llama-cpp-python: MODEL THREADS N_CTX.

The same C interface as llama.cpp's, as of before their ways parted. With IK_REPACK=1 it repacks weights at load, which
takes a copy of them in memory and is its fastest way on a CPU; otherwise it maps the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import bench_protocol
import ik_llama_cpp
import numpy as np
from ik_llama_cpp import _ctypes_api as api

BATCH = 512


class IkLlamaCpp:
    """A model with one context, n_batch = n_ubatch = 512, as many threads for prompts as for single tokens."""

    def __init__(self, path: str, threads: int, n_ctx: int) -> None:
        api.llama_backend_init()
        params, repack = api.llama_model_default_params(), os.environ.get("IK_REPACK") == "1"
        params.use_mmap, params.repack_tensors = not repack, repack
        self._model = api.llama_model_load_from_file(path.encode(), params)
        if not self._model:
            raise SystemExit(f"ik_llama.cpp cannot load {path}")
        context = api.llama_context_default_params()
        context.n_ctx, context.n_batch, context.n_ubatch = n_ctx, BATCH, BATCH
        context.n_threads = context.n_threads_batch = threads
        self._context = api.llama_init_from_model(self._model, context)
        if not self._context:
            raise SystemExit(f"ik_llama.cpp cannot make a context of {n_ctx} tokens")
        self._batch, self._read = api.llama_batch_init(BATCH, 0, 1), 0
        self.n_vocab: int = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))
        self.info = f"ik-llama-cpp-python {ik_llama_cpp.__version__}, {'repacked' if repack else 'mapped'}"

    def clear(self) -> None:
        api.llama_kv_cache_clear(self._context)
        self._read = 0

    def feed(self, ids: Sequence[int]) -> None:
        for i in range(0, len(ids), BATCH):
            part, batch = ids[i : i + BATCH], self._batch
            last = i + len(part) == len(ids)
            batch.n_tokens = len(part)
            for j, token in enumerate(part):
                batch.token[j], batch.pos[j] = token, self._read + j
                batch.n_seq_id[j], batch.seq_id[j][0] = 1, 0
                batch.logits[j] = last and j + 1 == len(part)
            if code := api.llama_decode(self._context, batch):
                raise RuntimeError(f"llama_decode returned {code}")
            self._read += len(part)
        api.llama_get_logits_ith(self._context, self._batch.n_tokens - 1)

    def save_logits(self, ids: Sequence[int], path: str) -> None:
        self.clear()
        rows = []
        for id in ids:
            self.feed([id])
            logits = api.llama_get_logits_ith(self._context, 0)
            rows.append(np.ctypeslib.as_array(logits, (self.n_vocab,)).copy())
        np.save(path, np.stack(rows))


if __name__ == "__main__":
    bench_protocol.serve(IkLlamaCpp(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
