"""OpenVINO GenAI as a benchmark's engine, run by an interpreter that has openvino-genai: MODEL THREADS N_CTX.

It reads GGUF files of the Llama and Qwen families, and generates only whole answers: the time of single tokens is that
of an answer without its first token.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import bench_protocol
import numpy as np
import openvino as ov
import openvino_genai as genai


class OpenVino:
    """A model on the CPU with as many threads as asked for; what it compiles and repacks is done at load."""

    def __init__(self, path: str, threads: int, n_ctx: int) -> None:
        self._pipe = genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=threads)
        self.n_vocab = 1000  # of token ids; the pipeline does not tell how many there are
        self.info = f"openvino-genai {genai.__version__}"
        self._turn = 0

    def clear(self) -> None:
        """Nothing is kept between answers."""

    def feed(self, ids: Sequence[int]) -> None:
        self._answer(ids, 1)

    def save_logits(self, ids: Sequence[int], path: str) -> None:
        raise SystemExit("OpenVINO GenAI does not give logits")

    def seconds(self, op: str, n: int, depth: int) -> float:
        """As `bench_protocol.measure`."""
        self._turn += 1  # texts begin differently: the pipeline keeps the prompts that it has read
        ids = [self._turn % self.n_vocab, *bench_protocol.token_ids(depth + n, self.n_vocab)[1:]]
        if op == "pp":
            return self._answer(ids, 1) - (self._answer(ids[:depth], 1) if depth else 0)
        return self._answer(ids[: depth + 1], n + 1) - self._answer(ids[: depth + 1], 1)

    def _answer(self, ids: Sequence[int], n: int) -> float:
        """Seconds for an answer of `n` tokens to a prompt of `ids`."""
        config = genai.GenerationConfig(max_new_tokens=n, ignore_eos=True, do_sample=False)
        prompt = ov.Tensor(np.array([ids], np.int64))
        start = time.perf_counter()
        self._pipe.generate(genai.TokenizedInputs(prompt, ov.Tensor(np.ones((1, len(ids)), np.int64))), config)
        return time.perf_counter() - start


if __name__ == "__main__":
    engine = OpenVino(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    bench_protocol.serve(engine, engine.seconds)
