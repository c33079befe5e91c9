"""Measures speed in tokens/s as llama-bench does: random tokens, no sampling.

Decode is also given in bytes of weights per second, to compare with this machine's memory bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter
from typing import Any

import numpy as np

from ..engine import Engine
from ..errors import UsageError
from ..gguf import open_gguf
from ..model_info.weight_memory import copies_weights
from ..model_info.work import Work, work
from ..quant.jit.cpu import physical_cores, usable_cpus
from ..quant.tensor import QTensor
from . import roofline

SEED = 0
MOST_THREADS = 1024


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The result of one test: `name` as in llama-bench (pp512, tg128, pp512+tg128, pp512 @ d4096).

    `samples` are in tokens/s, `weight_rate` in bytes/s, `multiply_rate` in multiply-adds/s; the shares of the machine's
    peak are 0..1. None where a rate does not apply or was not requested. `limit` is a sentence on the bottleneck.
    """

    model: Path
    name: str
    n_threads: int
    samples: tuple[float, ...]
    kv_type: str = "f16"
    weight_rate: float | None = None
    bandwidth_share: float | None = None
    multiply_rate: float | None = None
    multiply_share: float | None = None
    limit: str | None = None

    @property
    def mean(self) -> float:
        return mean(self.samples)

    @property
    def sd(self) -> float:
        """Sample standard deviation, 0 for a single sample."""
        return stdev(self.samples) if len(self.samples) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """The tests to run: tokens of prefill and of decode (0 skips a test), and a `pair` of both in one test.

    Each test starts with `depth` tokens in the KV cache. Raises UsageError for invalid values.
    """

    n_prompt: int = 512
    n_gen: int = 128
    pair: tuple[int, int] | None = None
    depth: int = 0
    repeats: int = 5
    kv_type: str = "f16"
    weights: str = "auto"
    roofline: bool = False

    def __post_init__(self) -> None:
        for name, least in (("n_prompt", 0), ("n_gen", 0), ("depth", 0), ("repeats", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}: must be {least} or more")
        if self.pair is not None and min(self.pair) < 1:
            raise UsageError("-pg needs at least one token of prompt and of generation")
        if not self.n_ctx - self.depth:
            raise UsageError("nothing to measure: give -p, -n or -pg more than 0")

    @property
    def n_ctx(self) -> int:
        return self.depth + max(self.n_prompt, self.n_gen, sum(self.pair or ()))

    def tests(self) -> list[tuple[int, int]]:
        """(Prefill tokens, decode tokens) of every test."""
        wanted = [(self.n_prompt, 0), (0, self.n_gen), self.pair or (0, 0)]
        return [test for test in wanted if any(test)]


def bench(models: Sequence[Path], plan: BenchPlan, n_threads: Sequence[int | None] = (None,)) -> Iterator[BenchResult]:
    """Run the tests for every model and thread count, yielding each result. Raises what `Engine.open` raises.

    All files are opened before the first test, so that a wrong name is reported at once.
    """
    copied = {}
    for path in models:
        with open_gguf(path) as gguf:
            copied[path] = copies_weights(plan.weights, gguf.metadata, gguf.tensors, plan.n_ctx, plan.kv_type)
    for path in models:
        for threads in n_threads:
            engine = Engine.open(
                path, n_ctx=plan.n_ctx, n_threads=threads, kv_type=plan.kv_type, copy_weights=copied[path]
            )
            try:
                yield from measure(engine, path, plan)
            finally:
                engine.close()


def measure(engine: Engine, path: Path, plan: BenchPlan) -> Iterator[BenchResult]:
    """Run the tests on an open engine."""
    ids = np.random.default_rng(SEED).integers(0, engine.n_vocab, plan.n_ctx).tolist()
    engine.truncate(0)
    if plan.depth:
        engine.prefill(ids[: plan.depth])
    for n_prompt, n_gen in plan.tests():
        yield _row(engine, path, plan, (n_prompt, n_gen), ids[plan.depth :])


def _row(engine: Engine, path: Path, plan: BenchPlan, test: tuple[int, int], ids: list[int]) -> BenchResult:
    n_prompt, n_gen = test

    def run() -> None:
        if n_prompt:
            engine.prefill(ids[:n_prompt])
        for id in ids[n_prompt : n_prompt + n_gen]:
            engine.decode(id)

    name = "+".join(f"{kind}{n}" for kind, n in (("pp", n_prompt), ("tg", n_gen)) if n)
    name += f" @ d{plan.depth}" if plan.depth else ""
    samples = _sample(engine, plan, run, n_prompt + n_gen)
    row, cost = BenchResult(path, name, engine.n_threads, samples, plan.kv_type), work(*_file(engine))
    if n_prompt and n_gen:
        return row
    return _of_answer(row, cost, plan) if n_gen else _of_prompt(row, cost, plan)


def _of_answer(row: BenchResult, work: Work, plan: BenchPlan) -> BenchResult:
    rate = row.mean * work.nbytes
    share = rate / roofline.read_bandwidth(row.n_threads)
    limit = roofline.decode_limit(row.name, share, row.n_threads) if plan.roofline else None
    return replace(row, weight_rate=rate, bandwidth_share=share, limit=limit)


def _of_prompt(row: BenchResult, work: Work, plan: BenchPlan) -> BenchResult:
    if not plan.roofline:
        return row
    rate = row.mean * work.multiply_adds
    share = rate / roofline.multiply_peak(row.n_threads, work.floats)
    limit = roofline.prefill_limit(row.name, share, row.n_threads, work.floats)
    return replace(row, multiply_rate=rate, multiply_share=share, limit=limit)


def _file(engine: Engine) -> tuple[Mapping[str, QTensor], Mapping[str, Any]]:
    return engine.gguf.tensors, engine.gguf.metadata


def thread_counts(text: str | None) -> list[int | None]:
    """Parse -t: "4", "1,2,4", or "auto" for a sweep; None lets the engine choose. Raises UsageError."""
    if text is None:
        return [None]
    if text == "auto":
        return [*roofline.thread_sweep(physical_cores(), usable_cpus())]
    try:
        counts: list[int | None] = [int(word) for word in text.split(",")]
    except ValueError:
        counts = [0]
    if any(n is None or not 1 <= n <= MOST_THREADS for n in counts):
        raise UsageError(f"-t {text}: must be numbers such as 4 or 1,2,4, or auto")
    return counts


def pair_of(text: str | None) -> tuple[int, int] | None:
    """Parse -pg: "512,128" is (512, 128). Raises UsageError."""
    if text is None:
        return None
    try:
        n_prompt, n_gen = map(int, text.split(","))
    except ValueError as error:
        raise UsageError(f"-pg {text}: must be two numbers such as 512,128") from error
    return n_prompt, n_gen


def _sample(engine: Engine, plan: BenchPlan, work: Callable[[], None], n: int) -> tuple[float, ...]:
    """Tokens/s of every repetition of `work` on `n` tokens, after one warm-up."""
    samples = []
    for _ in range(plan.repeats + 1):
        engine.truncate(plan.depth)
        start = perf_counter()
        work()
        samples.append(n / (perf_counter() - start))
    return tuple(samples[1:])
