"""Greedy answers of llama.cpp with its n-gram look-up (LlamaPromptLookupDecoding), for tools/bench_speculation.py.

    PYTHON tools/speculate_llama_cpp.py MODEL THREADS N_CTX

PYTHON is an interpreter with llama-cpp-python. For each line of standard input, {"ids": [...], "n": 100, "lookup":
true}, it writes a line {"ids": [...], "cpu": seconds, "wall": seconds}: the times are those after the first token.
"""

from __future__ import annotations

import itertools
import json
import sys
from time import perf_counter, process_time
from typing import Any

from llama_cpp import Llama
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding


def answer(model: Llama, ids: list[int], n: int) -> dict[str, Any]:
    """At most `n` tokens after the prompt `ids`, and their time."""
    model.reset()
    tokens = itertools.islice(model.generate(ids, temp=0.0, repeat_penalty=1.0, top_k=1), n)
    out, ends = [next(tokens)], {model.token_eos()}
    cpu, wall = process_time(), perf_counter()
    for token in tokens:
        out.append(token)
        if token in ends:
            break
    return {"ids": out, "cpu": process_time() - cpu, "wall": perf_counter() - wall}


def main() -> None:
    path, threads, n_ctx = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # With a draft the package keeps logits of all tokens, for which it has as many rows as a batch.
    how: dict[str, Any] = {"n_ctx": n_ctx, "n_batch": n_ctx, "n_threads": threads, "n_threads_batch": threads}
    how["verbose"] = False
    plain = Llama(path, **how)
    lookup = Llama(path, **how, draft_model=LlamaPromptLookupDecoding(num_pred_tokens=10))
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(answer(lookup if asked["lookup"] else plain, asked["ids"], asked["n"])), flush=True)


if __name__ == "__main__":
    main()
