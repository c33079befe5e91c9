"""Writes tests/golden/imatrix.npz: sums of squares of what llama.cpp's own products of stories260K in F32 read.

A callback hears of every node that llama.cpp evaluates, as llama-imatrix's does, and sums in float64 over the first
chunks of a text. Needs llama-cpp-python.

    python tools/make_imatrix_goldens.py F32_MODEL TEXT
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import llama_cpp
import numpy as np

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "imatrix.npz"
CTX, CHUNKS = 64, 4
QUIET = llama_cpp.llama_log_callback(lambda *_: None)


class Tensor(ctypes.Structure):
    """The beginning of ggml's tensor."""


Tensor._fields_ = [
    ("type", ctypes.c_int32),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int32),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(Tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
]


def main() -> None:
    (library,) = (Path(llama_cpp.__file__).parent / "lib").glob("libggml-base.so")
    base = ctypes.CDLL(str(library))
    base.ggml_op_desc.restype, base.ggml_op_desc.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    llama_cpp.llama_log_set(QUIET, ctypes.c_void_p(0))
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}

    def hear(address: int, ask: bool, _: object) -> bool:
        if base.ggml_op_desc(address) != b"MUL_MAT":
            return not ask
        weight, x = (ctypes.cast(address, ctypes.POINTER(Tensor)).contents.src[i].contents for i in range(2))
        name = weight.name.decode()
        if not name.startswith("blk."):
            return not ask
        if not ask:
            rows, k = x.ne[1], x.ne[0]
            assert x.type == 0 and x.nb[1] == 4 * k and x.ne[2] == x.ne[3] == 1
            values = np.ctypeslib.as_array(ctypes.cast(x.data, ctypes.POINTER(ctypes.c_float)), (rows, k))
            sums[name] = sums.get(name, 0) + (values.astype(np.float64) ** 2).sum(0)
            counts[name] = counts.get(name, 0) + rows
        return True

    callback = llama_cpp.ggml_backend_sched_eval_callback(hear)
    model = llama_cpp.llama_model_load_from_file(sys.argv[1].encode(), llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = CTX
    params.cb_eval, params.n_threads = callback, 1
    context = llama_cpp.llama_init_from_model(model, params)
    text, vocabulary = Path(sys.argv[2]).read_bytes(), llama_cpp.llama_model_get_vocab(model)
    ids = (ctypes.c_int32 * len(text))()
    assert llama_cpp.llama_tokenize(vocabulary, text, len(text), ids, len(ids), True, False) > CTX * CHUNKS
    for i in range(CHUNKS):
        chunk = [llama_cpp.llama_vocab_bos(vocabulary), *ids[i * CTX + 1 : (i + 1) * CTX]]
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        batch = llama_cpp.llama_batch_init(CTX, 0, 1)
        batch.n_tokens = CTX
        for j, token in enumerate(chunk):
            batch.token[j], batch.pos[j], batch.n_seq_id[j], batch.seq_id[j][0] = token, j, 1, 0
            batch.logits[j] = 1  # of all, or the last block would read fewer rows
        assert not llama_cpp.llama_decode(context, batch)
    assert set(counts.values()) == {CTX * CHUNKS}
    np.savez_compressed(GOLDEN, **{name: values.astype(np.float32) for name, values in sums.items()})


if __name__ == "__main__":
    main()
