"""Speed of a model as llama-bench measures it: random tokens, no sampling, tokens a second. Prints nothing.

Decode is also given in bytes of weights a second, to be held against what this machine can read from memory at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter

import numpy as np

from .engine import Engine
from .errors import UsageError
from .quant.tensor import QTensor

SEED = 0
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"


@dataclass(frozen=True, slots=True)
class Row:
    """One test: `name` as in llama-bench (pp512, tg128, pp512 @ d4096), `samples` in tokens a second.

    `weight_rate` is in bytes a second and `bandwidth_share` a part of 1; both None for prompts, which reuse weights.
    """

    name: str
    n_threads: int
    samples: tuple[float, ...]
    weight_rate: float | None = None
    bandwidth_share: float | None = None

    @property
    def mean(self) -> float:
        return mean(self.samples)

    @property
    def sd(self) -> float:
        """Sample standard deviation, 0 for a single sample."""
        return stdev(self.samples) if len(self.samples) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: tokens of prompt and of answer (0: not measured) after `depth` others. Raises UsageError."""

    n_prompt: int = 512
    n_gen: int = 128
    depth: int = 0
    repeats: int = 5

    def __post_init__(self) -> None:
        for name, least in (("n_prompt", 0), ("n_gen", 0), ("depth", 0), ("repeats", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}: must be {least} or more")
        if not self.n_ctx - self.depth:
            raise UsageError("nothing to measure: no prompt and no answer")

    @property
    def n_ctx(self) -> int:
        return self.depth + max(self.n_prompt, self.n_gen)


def bench(path: Path | str, plan: Plan, n_threads: int | None = None, kv_type: str = "f16") -> Iterator[Row]:
    """Rows as they are measured. Raises what `Engine.open` raises."""
    engine = Engine.open(path, n_ctx=plan.n_ctx, n_threads=n_threads, kv_type=kv_type)
    try:
        yield from measure(engine, plan, read_bandwidth)
    finally:
        engine.close()


def measure(engine: Engine, plan: Plan, bandwidth: Callable[[int], float]) -> Iterator[Row]:
    """Rows of an open engine; `bandwidth(n_threads)` gives the machine's bytes a second, asked only when needed."""
    where = f" @ d{plan.depth}" if plan.depth else ""
    ids = np.random.default_rng(SEED).integers(0, engine.n_vocab, plan.n_ctx).tolist()
    engine.truncate(0)
    if plan.depth:
        engine.prefill(ids[: plan.depth])
    rest = ids[plan.depth :]

    def prompt() -> None:
        engine.prefill(rest[: plan.n_prompt])

    def answer() -> None:
        for id in rest[: plan.n_gen]:
            engine.decode(id)

    if plan.n_prompt:
        yield Row(f"pp{plan.n_prompt}{where}", engine.n_threads, _sample(engine, plan, prompt, plan.n_prompt))
    if plan.n_gen:
        samples = _sample(engine, plan, answer, plan.n_gen)
        rate = mean(samples) * bytes_per_token(engine.gguf.tensors)
        share = rate / bandwidth(engine.n_threads)
        yield Row(f"tg{plan.n_gen}{where}", engine.n_threads, samples, rate, share)


def bytes_per_token(tensors: Mapping[str, QTensor]) -> int:
    """Bytes of weights that decoding one token reads: all, but of the embedding one row unless it is the output too."""
    total = sum(tensor.nbytes for tensor in tensors.values())
    embedding = tensors.get(EMBEDDING)
    if embedding is None or OUTPUT not in tensors:
        return total
    return total - embedding.nbytes + embedding.nbytes // embedding.rows


def read_bandwidth(n_threads: int) -> float:
    """Bytes a second that `n_threads` read from memory: a sum over 1 GiB, best of 5."""
    from .ops.bandwidth import read_bandwidth as measured

    return measured(n_threads)


def _sample(engine: Engine, plan: Plan, work: Callable[[], None], n: int) -> tuple[float, ...]:
    """Tokens a second of every repetition of `work` on `n` tokens, after one that does not count."""
    samples = []
    for _ in range(plan.repeats + 1):
        engine.truncate(plan.depth)
        start = perf_counter()
        work()
        samples.append(n / (perf_counter() - start))
    return tuple(samples[1:])
