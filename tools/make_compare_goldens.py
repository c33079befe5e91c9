"""Writes tests/golden/compare.json: what llama.cpp's logits say of stories260K in F16, Q8_0, Q5_0 and Q4_0.

Perplexity and KL divergence by llama-perplexity's method over the first chunks of a text; the quantized files are made
by llama.cpp, too. Needs llama-cpp-python.

    python tools/make_compare_goldens.py F16_MODEL TEXT
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "compare.json"
CTX, CHUNKS = 256, 24
TYPES = {"Q8_0": 7, "Q5_0": 8, "Q4_0": 2}
QUIET = llama_cpp.llama_log_callback(lambda *_: None)


def quantized(source: Path, folder: Path, name: str) -> Path:
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = TYPES[name], 1
    out = folder / f"{name}.gguf"
    assert not llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), params)
    return out


def log_probabilities(path: Path, chunks: list[list[int]]) -> NDArray[np.float64]:
    """(chunks, scored, vocabulary) of the second half of each chunk but its last token."""
    model = llama_cpp.Llama(
        str(path), n_ctx=CTX, n_batch=CTX, n_ubatch=CTX, logits_all=True, n_threads=1, verbose=False
    )
    found = []
    for chunk in chunks:
        model.reset()
        model.eval(chunk)
        logits = np.array(model.scores[CTX // 2 : CTX - 1], np.float64)
        logits -= logits.max(1, keepdims=True)
        found.append(logits - np.log(np.exp(logits).sum(1, keepdims=True)))
    return np.stack(found)


def main() -> None:
    llama_cpp.llama_log_set(QUIET, ctypes.c_void_p(0))
    source, text = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    model = llama_cpp.Llama(str(source), vocab_only=True, verbose=False)
    ids = model.tokenize(text, add_bos=True)
    chunks = [[model.token_bos(), *ids[i * CTX + 1 : (i + 1) * CTX]] for i in range(CHUNKS)]
    targets = np.array(chunks)[:, CTX // 2 + 1 :, None]
    reference = log_probabilities(source, chunks)
    record: dict[str, object] = {"ctx": CTX, "chunks": CHUNKS, "llama_cpp_python": llama_cpp.__version__}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("F16", *TYPES):
            path = source if name == "F16" else quantized(source, Path(folder), name)
            log_q = reference if name == "F16" else log_probabilities(path, chunks)
            kl = (np.exp(reference) * (reference - log_q)).sum(-1).ravel()
            record[name] = {
                "perplexity": float(np.exp(-np.take_along_axis(log_q, targets, 2).mean())),
                "kl_mean": float(kl.mean()),
                "kl_99": float(np.quantile(kl, 0.99)),
                "kl_max": float(kl.max()),
                "top1": float((reference.argmax(-1) == log_q.argmax(-1)).mean()),
            }
    GOLDEN.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
