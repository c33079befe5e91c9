"""Time the vectors of texts in llmlocal and its peers, in turn, and compare the vectors.

    python tools/bench_embed.py minilm.gguf lines.txt --peer llama.cpp=PYTHON \
        --peer sentence-transformers=PYTHON:FOLDER -n 2000 -t 2 -r 3

A line of the file is a text. PYTHON is an interpreter that has the peer's package, FOLDER the Hugging Face folder that
the GGUF file was made of. All engines stay loaded; while one measures, the others sleep. llmlocal counts the tokens;
processor time is that of all threads. Texts longer than the model reads are left out: engines cut them differently.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

OURS, LLAMA_CPP, SENTENCE = "llmlocal", "llama.cpp", "sentence-transformers"
Embed = Callable[[Sequence[str]], Any]  # texts -> vectors (texts, width)


def llmlocal_engine(model: str, threads: int) -> Embed:
    import numpy as np

    from llmlocal.embedding.embedder import Embedder

    embedder = Embedder.open(model, n_threads=threads)
    return lambda texts: np.concatenate([found.rows for found in embedder.embed(texts, truncate=True)])


def llama_cpp_engine(model: str, threads: int) -> Embed:
    from llama_cpp import Llama

    sizes = {"n_ctx": 512, "n_batch": 2048, "n_ubatch": 2048, "n_threads": threads, "n_threads_batch": threads}
    engine = Llama(model, embedding=True, verbose=False, **sizes)
    return lambda texts: engine.embed(list(texts), normalize=True, truncate=True)


def sentence_engine(folder: str, threads: int) -> Embed:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    engine = SentenceTransformer(folder, device="cpu")
    return lambda texts: engine.encode(list(texts), batch_size=32, show_progress_bar=False)


ENGINES = {OURS: llmlocal_engine, LLAMA_CPP: llama_cpp_engine, SENTENCE: sentence_engine}


def serve(name: str, model: str, lines: str, threads: int) -> None:
    """A worker: load, warm up, and for every line of stdin, the path for the vectors, run once and say how long."""
    import numpy as np

    texts: list[str] = json.loads(Path(lines).read_text())
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to stderr
    embed = ENGINES[name](model, threads)
    embed(texts[:8])
    print("ready", file=answers)
    for path in sys.stdin:
        start, before = time.perf_counter(), time.process_time()
        vectors = embed(texts)
        seconds, cpu = time.perf_counter() - start, time.process_time() - before
        np.save(path.strip(), np.asarray(vectors, np.float32))
        print(json.dumps([seconds, cpu]), file=answers)


class Worker:
    """An engine in a process of its own."""

    def __init__(self, name: str, python: str, arguments: Sequence[str]) -> None:
        words = [python, str(Path(__file__).resolve()), "--worker", name, *arguments]
        self.name, self._process = name, subprocess.Popen(words, text=True, stdin=-1, stdout=-1)
        if self._answer() != "ready":
            raise SystemExit(f"{name} did not start")

    def run(self, path: Path) -> tuple[float, float]:
        """Seconds and seconds of processor time for all texts; the vectors are saved."""
        assert self._process.stdin is not None
        print(path, file=self._process.stdin, flush=True)
        seconds, cpu = json.loads(self._answer() or '"it ended"')
        return seconds, cpu

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def read(path: Path, model: Path, count: int) -> tuple[list[str], int]:
    """The first `count` lines that hold more than spaces and that the model reads whole, and all their tokens."""
    from llmlocal.embedding.embedder import text_limit
    from llmlocal.embedding.settings import EmbeddingSettings
    from llmlocal.gguf import open_gguf
    from llmlocal.tokenizer import load

    with open_gguf(model) as gguf:
        longest = text_limit(gguf, EmbeddingSettings.read(gguf.metadata, str(model)), None)
        encode = load(gguf.metadata).encode
        lines = [line.strip() for line in path.read_text().split("\n") if line.strip()]
        sizes = ((line, len(encode(line))) for line in lines)
        found = list(islice((pair for pair in sizes if pair[1] <= longest), count))
    return [line for line, _ in found], sum(n for _, n in found)


def measure(args: argparse.Namespace) -> None:
    import numpy as np

    texts, tokens = read(args.lines, args.model, args.count)
    print(f"{len(texts)} texts, {tokens} tokens, {args.threads} threads", flush=True)
    peers = [(OURS, sys.executable, str(args.model))]
    for text in args.peer:
        name, _, rest = text.partition("=")
        python, _, folder = rest.partition(":")
        peers.append((name, python, folder or str(args.model)))
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines = scratch / "lines.json"
        lines.write_text(json.dumps(texts))
        rest = [str(lines), str(args.threads)]
        workers = [Worker(name, python, [model, *rest]) for name, python, model in peers]
        for worker in workers:
            stack.callback(worker.close)
        runs: dict[str, list[tuple[float, float]]] = {worker.name: [] for worker in workers}
        for _ in range(args.rounds):
            for worker in workers:
                runs[worker.name].append(worker.run(scratch / f"{worker.name}.npy"))
                print(f"  {worker.name}: {runs[worker.name][-1][0]:.1f} s", file=sys.stderr, flush=True)
        ours = np.load(scratch / f"{OURS}.npy")
        print("| engine | tokens/s | texts/s | tokens per second of processor time | smallest cosine to ours |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for name, found in runs.items():
            seconds, cpu = (median(column) for column in zip(*found, strict=True))
            vectors = np.load(scratch / f"{name}.npy")
            cosines = (vectors * ours).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(ours, axis=1)
            rates = f"{tokens / seconds:.0f} | {len(texts) / seconds:.1f} | {tokens / cpu:.0f}"
            print(f"| {name} | {rates} | {cosines.min():.6f} |")


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        name, model, lines, threads = sys.argv[2:]
        serve(name, model, lines, int(threads))
        return
    parser = argparse.ArgumentParser(description="Time the vectors of texts in llmlocal and its peers, in turn.")
    parser.add_argument("model", type=Path)
    parser.add_argument("lines", type=Path)
    what = f"{LLAMA_CPP}=PYTHON, or {SENTENCE}=PYTHON:FOLDER"
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=what)
    parser.add_argument("-n", "--count", type=int, default=2000, help="lines (default 2000)")
    parser.add_argument("-t", "--threads", type=int, default=2, help="default 2")
    parser.add_argument("-r", "--rounds", type=int, default=3, help="default 3")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
