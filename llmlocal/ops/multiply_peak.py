"""Measures the peak rate of multiply-adds, which limits prefill."""

from __future__ import annotations

from typing import Any

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet
from .timing import best_seconds

VECTORS = 8  # of weights in one iteration, as in a block of 32 weights
STRIDE = 64  # bytes from one token's activations to the next
ITERATIONS = 1 << 18


def multiply_peak_kernel(floats: bool) -> Kernel:
    """Multiply-adds in registers and the L1 cache, without scales: of float32, or of int8 as for 4-bit weights.

    `data` holds VECTORS vectors of weights and activations of 8 tokens, of any value.
    """
    name = "multiply_peak_f32" if floats else "multiply_peak_q8"
    return Kernel(name, ("data", "iterations", "sums"), _float_build if floats else _byte_build)


def _byte_build(v: InstructionSet) -> Any:
    i8, i32, tokens, width, after = v.i8, v.i32, v.TOKENS, v.i8.n, VECTORS * v.i8.n
    zeros = v.map_parts(tokens, lambda t: lambda p: v.zero(i32))
    stores = v.map_parts(tokens, lambda t: lambda sums, p: v.store(p + width * t, sums[t]))
    dot = v.paired_dot(tokens, VECTORS, 4, False, lambda j, p: v.load(i8, p + width * j))

    def run(counter, ith, nth, data, iterations, sums):
        parts = zeros(data)
        for i in range(iterations):
            p = data + (i & 31) * STRIDE  # a changing address, or the compiler would multiply once
            parts = dot(parts, p, p + after, STRIDE)
        stores(parts, sums + 1024 * ith)

    return run


def _float_build(v: InstructionSet) -> Any:
    f32, tiles, width, after = v.f32, v.FLOAT_TILES, 4 * v.f32.n, VECTORS * 4 * v.f32.n
    chains = v.FLOAT_TOKENS * tiles  # of sums, as in products: fewer would wait for each other
    zeros = v.map_parts(chains, lambda i: lambda p: v.zero(f32))
    stores = v.map_parts(chains, lambda i: lambda sums, p: v.store(p + width * i, sums[i]))

    def add(i: int, j: int) -> Any:
        token, weights = i // tiles, width * (tiles * j + i % tiles)
        return lambda sums, p, x: v.fma(
            v.load(f32, p + weights), v.load_splat(f32, x + token * STRIDE + 4 * j), sums[i]
        )

    def column(j: int) -> Any:
        return v.map_parts(chains, lambda i: add(i, j))

    step = v.fold_parts([column(j) for j in range(VECTORS // tiles)])

    def run(counter, ith, nth, data, iterations, sums):
        parts = zeros(data)
        for i in range(iterations):
            p = data + (i & 31) * STRIDE
            parts = step(parts, p, p + after)
        stores(parts, sums + 1024 * ith)

    return run


def multiply_peak(n_threads: int, *, floats: bool) -> float:
    """Multiply-adds per second of `n_threads` threads together, best of five runs."""
    from importlib import import_module

    import numpy as np

    from ..quant.jit.cpu import target

    kernel, isa = multiply_peak_kernel(floats), import_module(f"..quant.isa.{target().isa}", __package__)
    data, sums = np.zeros(4096, np.uint8), np.zeros((n_threads, 1024), np.uint8)
    fields = kernel.block(data=-(-data.ctypes.data // 64) * 64, iterations=ITERATIONS, sums=sums.ctypes.data)
    block = np.array(fields, np.int64)
    products = int(isa.LANES * VECTORS * (isa.FLOAT_TOKENS if floats else 4 * isa.TOKENS))
    return n_threads * ITERATIONS * products / best_seconds(kernel, block, n_threads)
