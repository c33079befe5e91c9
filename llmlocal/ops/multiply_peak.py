"""Measures the peak rate of multiply-adds, which limits prefill."""

from __future__ import annotations

from typing import Any, Literal

from ..quant.jit.kernel import Kernel
from ..quant.kernels.matmul_int16 import X86
from ..quant.simd.instruction_set import InstructionSet, Part
from .timing import best_seconds

Numbers = Literal["int8", "int16", "float32"]
VECTORS = 8  # of weights in one iteration, as in a block of 32 weights
STRIDE = 64  # bytes from one token's activations to the next
ITERATIONS = 1 << 18


def multiplied_as(weights: str, isa: str) -> Numbers:
    """What weights that are "int8", "float16" or "float32" to a format are in batches, with an instruction set."""
    if weights == "int8":
        return "int8"
    return "int16" if weights == "float16" and isa in X86 else "float32"


def multiply_peak_kernel(numbers: Numbers) -> Kernel:
    """Multiply-adds in registers and the L1 cache, without scales; of int8 as for 4-bit weights.

    `data` holds VECTORS vectors of weights and activations of 8 tokens, of any value.
    """
    build = {"int8": _byte_build, "int16": _short_build, "float32": _float_build}[numbers]
    return Kernel(f"multiply_peak_{numbers}", ("data", "iterations", "sums"), build)


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


def _short_build(v: InstructionSet) -> Any:
    i16, i32 = v.Vec("i16", 2 * v.LANES), v.i32
    return _chains(v, i32, i16, lambda w, x, total: v.dot2(total, w, v.bitcast(i16, v.load_splat(i32, x))))


def _float_build(v: InstructionSet) -> Any:
    return _chains(v, v.f32, v.f32, lambda w, x, total: v.fma(w, v.load_splat(v.f32, x), total))


def _chains(v: InstructionSet, total: Any, weight: Any, add_product: Part) -> Any:
    """Sums of the type `total` as in products: `add_product(weights, address of activations, sum)` adds to it."""
    tiles, width, after, add_product = v.FLOAT_TILES, 4 * v.LANES, VECTORS * 4 * v.LANES, v.jitable(add_product)
    chains = v.FLOAT_TOKENS * tiles  # of sums, as in products: fewer would wait for each other
    zeros = v.map_parts(chains, lambda i: lambda p: v.zero(total))
    stores = v.map_parts(chains, lambda i: lambda sums, p: v.store(p + width * i, sums[i]))

    def add(i: int, j: int) -> Any:
        token, at = i // tiles, width * (tiles * j + i % tiles)
        return lambda sums, p, x: add_product(v.load(weight, p + at), x + token * STRIDE + 4 * j, sums[i])

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


def multiply_peak(n_threads: int, numbers: Numbers) -> float:
    """Multiply-adds per second of `n_threads` threads together, best of five runs."""
    from importlib import import_module

    import numpy as np

    from ..quant.jit.cpu import target

    kernel, isa = multiply_peak_kernel(numbers), import_module(f"..quant.isa.{target().isa}", __package__)
    data, sums = np.zeros(4096, np.uint8), np.zeros((n_threads, 1024), np.uint8)
    fields = kernel.block(data=-(-data.ctypes.data // 64) * 64, iterations=ITERATIONS, sums=sums.ctypes.data)
    block = np.array(fields, np.int64)
    products = int(
        isa.LANES
        * VECTORS
        * {"int8": 4 * isa.TOKENS, "int16": 2 * isa.FLOAT_TOKENS, "float32": isa.FLOAT_TOKENS}[numbers]
    )
    return n_threads * ITERATIONS * products / best_seconds(kernel, block, n_threads)
