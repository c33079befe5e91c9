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
from ..gguf.model_file import open_model
from ..model_info.expert_memory import expert_reads
from ..model_info.machine import free_memory
from ..model_info.memory import memory
from ..model_info.weight_memory import copies_weights
from ..model_info.work import Work, work
from ..ops.multiply_peak import multiplied_as
from ..quant.jit.cpu import physical_cores, target, usable_cpus
from ..quant.tensor import QTensor
from ..speculation.speculation import ProposerReport
from . import roofline
from .answers import answers

SEED = 0
MOST_THREADS = 1024
MOST_TOKENS = 1 << 24


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The result of one test: `name` as in llama-bench (pp512, tg128, pp512+tg128, pp512 @ d4096).

    `samples` are in tokens/s, `weight_rate` in bytes/s, `multiply_rate` in multiply-adds/s; the shares of the machine's
    peak are 0..1. None where a rate does not apply or was not requested. `limit` is a sentence on the bottleneck;
    `weights` says where the weights lie and in which pages, `speculation` what proposed tokens did for answers.
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
    weights: str = "mapped"
    speculation: ProposerReport | None = None

    @property
    def mean(self) -> float:
        return mean(self.samples)

    @property
    def sd(self) -> float:
        """Sample standard deviation, 0 for a single sample."""
        return stdev(self.samples) if len(self.samples) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """The tests to run: tokens of prefill and of decode (0 skips a test), and `pairs` of both in one test.

    Each test is run with each of `depths` tokens in the KV cache before it. `answers`: tokens of an answer with
    proposed ones, 0 for none. Raises UsageError for invalid values.
    """

    prompts: tuple[int, ...] = (512,)
    gens: tuple[int, ...] = (128,)
    pairs: tuple[tuple[int, int], ...] = ()
    depths: tuple[int, ...] = (0,)
    repeats: int = 5
    kv_type: str = "f16"
    weights: str = "auto"
    roofline: bool = False
    answers: int = 0

    def __post_init__(self) -> None:
        for n in (*self.prompts, *self.gens, *self.depths):
            if n < 0:
                raise UsageError(f"{n} tokens: must be 0 or more")
        if self.repeats < 1:
            raise UsageError(f"{self.repeats} repeats: must be 1 or more")
        if any(min(pair) < 1 for pair in self.pairs):
            raise UsageError("-pg needs at least one token of prompt and of generation")
        if not self.tests() and not self.answers:
            raise UsageError("nothing to measure: give -p, -n or -pg more than 0")

    @property
    def n_ctx(self) -> int:
        return max(self.depths) + max(map(sum, self.tests()), default=0)

    @property
    def rows(self) -> int:
        """Results of one model with one number of threads."""
        return len(self.tests()) * len(set(self.depths)) + bool(self.answers)

    def tests(self) -> list[tuple[int, int]]:
        """(Prefill tokens, decode tokens) of every test."""
        wanted = [*((n, 0) for n in self.prompts), *((0, n) for n in self.gens), *self.pairs]
        return [test for test in dict.fromkeys(wanted) if any(test)]


def bench(models: Sequence[Path], plan: BenchPlan, n_threads: Sequence[int | None] = (None,)) -> Iterator[BenchResult]:
    """Run the tests for every model and thread count, yielding each result. Raises what `Engine.open` raises.

    All files are opened before the first test, so that a wrong name is reported at once.
    """
    copied, read = {}, {}
    for path in models:
        with open_model(path) as gguf:
            needed = memory(gguf.metadata, gguf.tensors, plan.n_ctx, plan.kv_type).total, free_memory()
            copied[path] = copies_weights(plan.weights, gguf.tensors, *needed)
            read[path] = expert_reads(gguf.metadata, gguf.tensors, *needed)
    for path in models:
        for threads in n_threads if plan.tests() else ():
            engine = Engine.open(
                path,
                n_ctx=plan.n_ctx,
                n_threads=threads,
                kv_type=plan.kv_type,
                copy_weights=copied[path],
                prefetch_bytes=read[path].prefetch_bytes,
            )
            try:
                yield from measure(engine, path, plan)
            finally:
                engine.close()
        for threads in n_threads if plan.answers else ():
            found = answers(path, plan.answers, plan.repeats, threads, plan.kv_type, plan.weights)
            used, samples, speculation = found
            where = "copied" if copied[path] else "mapped"
            row = BenchResult(path, f"answer{plan.answers}", used, samples, plan.kv_type, weights=where)
            yield replace(row, speculation=speculation)


def measure(engine: Engine, path: Path, plan: BenchPlan) -> Iterator[BenchResult]:
    """Run the tests on an open engine."""
    ids = np.random.default_rng(SEED).integers(0, engine.n_vocab, plan.n_ctx).tolist()
    held = 0
    for depth in sorted(set(plan.depths)):
        engine.truncate(held)
        if depth > held:
            engine.prefill(ids[held:depth])
        held = depth
        for test in plan.tests():
            yield _row(engine, path, plan, test, depth, ids[depth:])


def _row(engine: Engine, path: Path, plan: BenchPlan, test: tuple[int, int], depth: int, ids: list[int]) -> BenchResult:
    n_prompt, n_gen = test

    def run() -> None:
        if n_prompt:
            engine.prefill(ids[:n_prompt])
        for id in ids[n_prompt : n_prompt + n_gen]:
            engine.run([(0, [id])], [0])

    name = "+".join(f"{kind}{n}" for kind, n in (("pp", n_prompt), ("tg", n_gen)) if n)
    name += f" @ d{depth}" if depth else ""
    samples = _sample(engine, plan.repeats, depth, run, n_prompt + n_gen)
    row = BenchResult(path, name, engine.n_threads, samples, plan.kv_type, weights=engine.pages())
    cost = work(*_file(engine))
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
    numbers = multiplied_as(work.numbers, target().isa)
    share = rate / roofline.multiply_peak(row.n_threads, numbers)
    limit = roofline.prefill_limit(row.name, share, row.n_threads, numbers)
    return replace(row, multiply_rate=rate, multiply_share=share, limit=limit)


def _file(engine: Engine) -> tuple[Mapping[str, QTensor], Mapping[str, Any]]:
    return engine.gguf.tensors, engine.gguf.metadata


def thread_counts(texts: Sequence[str] | None) -> list[int | None]:
    """Parse -t: "4", "1,2,4", or "auto" for a sweep; none lets the engine choose. Raises UsageError."""
    if not texts:
        return [None]
    if list(texts) == ["auto"]:
        return [*roofline.thread_sweep(physical_cores(), usable_cpus())]
    return [*_numbers("-t", texts, 1, MOST_THREADS, ", or auto")]


def token_counts(option: str, texts: Sequence[str]) -> tuple[int, ...]:
    """Parse -p, -n or -d: "512" or "512,2912". Raises UsageError."""
    return tuple(_numbers(option, texts, 0, MOST_TOKENS))


def _numbers(option: str, texts: Sequence[str], least: int, most: int, more: str = "") -> list[int]:
    """The numbers in lists with commas, each once."""
    words = [word.strip() for text in texts for word in text.split(",")]
    if not all(_is_number(word, least, most) for word in words):
        raise UsageError(f"{option} {','.join(texts)}: must be numbers such as 4 or 1,2,4{more}")
    return list(dict.fromkeys(map(int, words)))


def _is_number(word: str, least: int, most: int) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 10 and least <= int(word) <= most


def pairs_of(texts: Sequence[str] | None) -> tuple[tuple[int, int], ...]:
    """Parse -pg: "512,128" is (512, 128). Raises UsageError."""
    found = []
    for text in texts or ():
        words = [word.strip() for word in text.split(",")]
        if len(words) != 2 or not all(_is_number(word, 0, MOST_TOKENS) for word in words):
            raise UsageError(f"-pg {text}: must be two numbers such as 512,128")
        found.append((int(words[0]), int(words[1])))
    return tuple(found)


def _sample(engine: Engine, repeats: int, depth: int, work: Callable[[], None], n: int) -> tuple[float, ...]:
    """Tokens/s of every repetition of `work` on `n` tokens, after one warm-up."""
    samples = []
    for _ in range(repeats + 1):
        engine.truncate(depth)
        start = perf_counter()
        work()
        samples.append(n / (perf_counter() - start))
    return tuple(samples[1:])
