"""Measure how fast matrices of each format are read for one token, and what more tokens cost.

    python tools/bench_formats.py --formats Q4_0 Q4_K Q6_K Q8_0 F16 -t 1 2
    LLMLOCAL_ISA=avx2 python tools/bench_formats.py

A matrix larger than the caches lies in large pages, in rows as in a file and, where the format has them, in interleaved
tiles as in a copy. The table has GB/s of its bytes for one token, the share of the speed at which as many threads read
memory, and the time of 2, 4, 8 and 16 tokens in that of one. By the clock, so on a quiet machine; a median of runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from llmlocal.gguf.pages import private_memory
from llmlocal.measure.roofline import read_bandwidth
from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.formats import load_all
from llmlocal.quant.jit.cpu import physical_cores, target
from llmlocal.quant.kernels.interleave import MOST_LANES, can_interleave, interleave
from llmlocal.quant.kernels.matmul import SCRATCH_BYTES, matmul
from llmlocal.quant.kernels.q8_activations import q8_bytes, quantize_q8
from llmlocal.runtime.buffers import aligned
from llmlocal.runtime.executor import ThreadTeam
from llmlocal.runtime.program import KernelCall, Program

K, TOKENS = 2048, (1, 2, 4, 8, 16)
COMMON = (
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q8_0",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "IQ4_NL",
    "IQ4_XS",
    "MXFP4",
    "F16",
    "BF16",
)
USUAL = (0.01, 8.0)  # a block's largest weight; random bytes are any number, of which subnormal ones slow a CPU down


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds for each of TOKENS, with so many threads, over `nbytes` of weights."""

    fmt: str
    form: str
    threads: int
    nbytes: int
    seconds: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Bytes a second for one token."""
        return self.nbytes / self.seconds[0]

    def row(self, bandwidth: float) -> str:
        """The table's line; `bandwidth` is that of as many threads in bytes a second."""
        costs = [f"{seconds / self.seconds[0]:.2f}" for seconds in self.seconds[1:]]
        share = f"{self.rate / 1e9:.1f} | {self.rate / bandwidth:.0%}"
        return f"| {self.fmt} | {self.form} | {self.threads} | {share} | {' | '.join(costs)} |"


def rows_of(fmt: type[Format]) -> Any:
    """MOST_LANES rows of K random weights of usual size, uint8 (MOST_LANES, row_bytes)."""
    rng, count = np.random.default_rng(0), MOST_LANES * K // fmt.block
    if fmt.block == 1:
        return fmt.quantize(rng.normal(0, 0.02, (MOST_LANES, K)).astype(np.float32))
    blocks = rng.integers(0, 256, (8192, fmt.nbytes), np.uint8)
    with np.errstate(all="ignore"):
        largest = np.abs(fmt.dequantize(blocks)).max(axis=1)
    found = blocks[(largest > USUAL[0]) & (largest < USUAL[1])]
    return found[rng.integers(0, len(found), count)].reshape(MOST_LANES, -1)


def filled(pattern: Any, nbytes: int) -> Any:
    """At most `nbytes` bytes in large pages that hold a pattern again and again."""
    out = np.frombuffer(private_memory(nbytes // pattern.size * pattern.size), np.uint8)
    out = out[: nbytes // pattern.size * pattern.size]
    out.reshape(-1, pattern.size)[:] = pattern.reshape(-1)
    return out


class Product:
    """A matrix of a format times up to 16 tokens, in rows or in interleaved tiles."""

    def __init__(self, fmt: type[Format], nbytes: int, interleaved: bool, threads: int) -> None:
        self.team, rows = ThreadTeam(threads), rows_of(fmt)
        if interleaved:
            tiles = aligned(rows.nbytes)
            self.run(interleave(fmt), source=rows, target=tiles, rows=MOST_LANES, row_bytes=rows.shape[1])
            rows = tiles.reshape(rows.shape)
        self.weights, self.row_bytes = filled(rows, nbytes), rows.shape[1]
        self.count = np.zeros(1, np.int64)
        x = np.random.default_rng(1).normal(0, 1, (max(TOKENS), K)).astype(np.float32)
        if fmt.activations == "q8":
            self.count[0], records = len(x), aligned(len(x) * q8_bytes(K))
            self.run(quantize_q8, tokens=self.count, x=x, out=records, k=K)
            x = records
        height = self.weights.size // self.row_bytes
        y, scratch = np.empty((max(TOKENS), height), np.float32), aligned(SCRATCH_BYTES * threads)
        fields = {"tokens": self.count, "weights": self.weights, "x": x, "y": y, "rows": height, "k": K}
        fields |= {"row_bytes": self.row_bytes, "y_stride": height, "scratch": scratch}
        self.program = self.of(matmul(fmt, interleaved=interleaved), **fields)

    def of(self, kernel: Any, **fields: Any) -> Program:
        held = [value for value in fields.values() if isinstance(value, np.ndarray)]
        numbers = {name: v.ctypes.data if isinstance(v, np.ndarray) else v for name, v in fields.items()}
        return Program.of([KernelCall(kernel, numbers)], held)

    def run(self, kernel: Any, **fields: Any) -> None:
        self.team.run(self.of(kernel, **fields))

    def seconds(self, tokens: int) -> float:
        """One product with so many tokens."""
        self.count[0], start = tokens, perf_counter()
        self.team.run(self.program)
        return perf_counter() - start


def readings(fmt: type[Format], threads: Sequence[int], nbytes: int, repetitions: int) -> Iterator[Reading]:
    """Each form with each number of threads; numbers of tokens in turn."""
    for interleaved in (False, True) if can_interleave(fmt, MOST_LANES) else (False,):
        for n in threads:
            product = Product(fmt, nbytes, interleaved, n)
            product.seconds(max(TOKENS))
            runs = [[product.seconds(tokens) for tokens in TOKENS] for _ in range(repetitions)]
            seconds = tuple(median(column) for column in zip(*runs, strict=True))
            yield Reading(fmt.name, "tiles" if interleaved else "rows", n, product.weights.size, seconds)
            product.team.close()


def main() -> None:
    """Print the bandwidth of each number of threads, then the table line by line."""
    load_all()
    parser = argparse.ArgumentParser(description="Measure products of each format with a few tokens.")
    parser.add_argument("--formats", nargs="+", default=list(COMMON), choices=sorted(BY_NAME), metavar="NAME")
    parser.add_argument("--mb", type=int, default=128, help="megabytes of each matrix (default: 128)")
    parser.add_argument("-t", "--threads", type=int, nargs="+", default=sorted({1, physical_cores()}))
    parser.add_argument("-r", "--repetitions", type=int, default=9)
    args = parser.parse_args()
    bandwidth = {n: read_bandwidth(n) for n in args.threads}
    print(f"{target().isa}; memory:", *(f"{rate / 1e9:.1f} GB/s with {n} threads;" for n, rate in bandwidth.items()))
    print("| format | form | threads | GB/s | of memory |", " | ".join(f"{n} tokens" for n in TOKENS[1:]), "|")
    print("|---|---|" + "---:|" * (3 + len(TOKENS[1:])), flush=True)
    for name in args.formats:
        for reading in readings(BY_NAME[name], args.threads, args.mb << 20, args.repetitions):
            print(reading.row(bandwidth[reading.threads]), flush=True)


if __name__ == "__main__":
    main()
