"""Products of bytes in every instruction set that this CPU offers, at the values where they could saturate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from instruction_sets import ISAS
from naive import run
from numpy.typing import NDArray

from llmlocal.quant.jit.kernel import Kernel
from llmlocal.quant.kernels.matmul import set_for_tiles
from llmlocal.quant.kernels.q8_activations import NEGATIVE, SIGN_LINE, SIGNS
from llmlocal.quant.simd.instruction_set import InstructionSet

Array = NDArray[Any]
Body = Callable[..., None]
B, I32 = np.int8, np.int32
VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]  # the cache knows kernels by name
DOTS = [(n, bits) for bits in (4, 5, 6, 8) for n in (4, 8)]  # 8 bits: signed


def build_dots(v: InstructionSet) -> Any:
    """tokens_dot of every size for two tokens, then dot4 and dot4_signed of a row's vectors, on every pattern."""
    size = 4 * v.LANES

    def group(i: int) -> Body:
        n, bits = DOTS[i]
        dot = v.tokens_dot(2, n, bits, bits == 8, lambda j, w: v.load(v.i8, w + size * j))

        def run(w, x, start, out):
            sums = dot((start, start), w, x, 64)
            v.store(out + 2 * size * i, sums[0])
            v.store(out + 2 * size * i + size, sums[1])

        return run

    groups, rows = v.map_parts(len(DOTS), group), 2 * size * len(DOTS)

    def main(counter, ith, nth, count, w, x, start, out):
        for _ in range(count):
            groups(w, x, v.load(v.i32, start), out)
            first, weight, act = v.load(v.row_i32, start), v.load(v.row_i8, w), v.load(v.row_i8, x)
            v.store(out + rows, v.dot4(first, weight, act))
            v.store(out + rows + size, v.dot4_signed(first, weight, act))
            w += 8 * size
            x += 128
            start += size
            out += rows + 2 * size

    return main


DOT_KERNEL = Kernel(f"test_dots_{VERSION}", ("count", "w", "x", "start", "out"), build_dots)


def patterns(width: int) -> list[tuple[int, Array, Array]]:
    """Bits of the weights (8: signed), weights (8, width) and activations (64,) at their extremes, and random ones."""
    rng, out = np.random.default_rng(0), []
    signs = np.where(np.arange(64) % 2, 127, -127).astype(B)
    xs = [np.full(64, 127, B), np.full(64, -127, B), signs, *rng.integers(-127, 128, (8, 64)).astype(B)]
    for bits in (4, 5, 6, 7, 8):
        low, high = (-128, 127) if bits == 8 else (0, (1 << bits) - 1)
        ws = [np.full((8, width), low), np.full((8, width), high), np.where(np.indices((8, width))[1] % 2, low, high)]
        ws.append(rng.integers(low, high + 1, (8, width)))
        out += [(bits, w, x) for w in ws for x in xs]
    return out


TILE_KERNEL = Kernel(f"test_tile_dots_{VERSION}", DOT_KERNEL.fields, lambda v: build_dots(set_for_tiles(v)))


@pytest.mark.parametrize("kernel", [DOT_KERNEL, TILE_KERNEL], ids=["registers", "tiles"])
@pytest.mark.parametrize("isa", ISAS)
def test_products_of_bytes_never_saturate(isa: str, kernel: Kernel) -> None:
    v = import_module(f"llmlocal.quant.isa.{isa}")
    if kernel is TILE_KERNEL:
        v = set_for_tiles(v)
    cases, lanes = patterns(4 * v.LANES), v.LANES
    w = np.stack([(w + 128 * (v.FLIP_SIGNED and bits == 8)).astype(np.uint8) for bits, w, _ in cases])
    x = np.stack([(x, -x) for *_, x in cases])
    start = np.random.default_rng(2).integers(-(1 << 20), 1 << 20, (len(cases), lanes)).astype(I32)
    out = np.zeros((len(cases), len(DOTS) + 1, 2, lanes), I32)
    run(kernel, isa, count=len(cases), w=w, x=x, start=start, out=out)
    for (bits, weights, acts), stored, first, got in zip(cases, w, start, out, strict=True):
        weights = stored.astype(I32) if v.FLIP_SIGNED else weights
        each = [sums_of_4(weights[j], np.tile(acts[4 * j : 4 * j + 4], lanes)) for j in range(8)]
        for (n, room), two_tokens in zip(DOTS, got, strict=False):
            if bits <= room and (bits == 8) == (room == 8):
                assert np.array_equal(two_tokens, [first + sum(each[:n]), first - sum(each[:n])]), (n, room, bits)
        n = v.row_i32.n
        row = first[:n] + sums_of_4(weights[0, : 4 * n], acts[: 4 * n])
        assert np.array_equal(got[-1, int(bits == 8), :n], row), f"a row of {bits} bits"


def build_pairs(v: InstructionSet) -> Any:
    """pairs_dot of both halves of 32 weights for two tokens, on every pattern."""
    size, dot = 4 * v.LANES, v.pairs_dot(2, 4, lambda j, w: v.load(v.i8, w + 4 * v.LANES * j))

    def main(counter, ith, nth, count, w, x, pairs, out):
        for _ in range(count):
            low, high = dot(pairs, w, x, 64), dot(pairs + 4, w + 4 * size, x + 16, 64)
            for t in range(2):
                v.store(out + size * t, v.tuple_get(low, t))
                v.store(out + size * (2 + t), v.tuple_get(high, t))
            w += 8 * size
            x += 128
            pairs += 128
            out += 4 * size

    return main


PAIR_KERNEL = Kernel(f"test_pairs_{VERSION}", ("count", "w", "x", "pairs", "out"), build_pairs)


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa == "avx2"])
def test_products_that_start_from_sums_of_pairs_come_back_from_overflow(isa: str) -> None:
    cases = [(w, x) for bits, w, x in patterns(32) if bits == 6]
    w, x = np.stack([w for w, _ in cases]).astype(np.uint8), np.stack([(x, -x) for _, x in cases])
    halves = x.reshape(len(cases), 2, 4, 16)[:, :, :2]  # of the 64 bytes of a token, those that are multiplied
    pairs = np.zeros((len(cases), 2, 32), np.int16)
    pairs[:, :, :4] = -32 * halves.reshape(-1, 2, 2, 4, 2, 2).sum((3, 5), dtype=np.int16).reshape(-1, 2, 4)
    out = np.zeros((len(cases), 2, 2, 8), I32)
    run(PAIR_KERNEL, isa, count=len(cases), w=w, x=x, pairs=pairs, out=out)
    quads = w.reshape(-1, 2, 4, 8, 4).astype(I32) - 32
    want = np.einsum("chqrb,cthqb->chtr", quads, halves.reshape(-1, 2, 2, 4, 4).astype(I32))
    assert np.array_equal(out, want)


def build_signs(v: InstructionSet) -> Any:
    """signs_dot of 32 weights for two tokens, on every pattern."""
    size, dot = 4 * v.LANES, v.signs_dot(2, 8, lambda j, w: v.load(v.i8, w + 4 * v.LANES * j))

    def main(counter, ith, nth, count, w, x, out):
        for _ in range(count):
            sums = dot(x + NEGATIVE, w, x, SIGN_LINE)
            v.store(out, sums[0])
            v.store(out + size, sums[1])
            w += 8 * size
            x += 2 * SIGN_LINE
            out += 2 * size

    return main


SIGNS_KERNEL = Kernel(f"test_signs_{VERSION}", ("count", "w", "x", "out"), lambda v: build_signs(set_for_tiles(v)))


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa == "avx2"])
def test_products_of_magnitudes_and_signs_never_saturate(isa: str) -> None:
    lanes = set_for_tiles(import_module(f"llmlocal.quant.isa.{isa}")).LANES
    cases = [(w, x[:32]) for bits, w, x in patterns(4 * lanes) if bits == 8]
    w, x = np.stack([w for w, _ in cases]).astype(B), np.stack([(x, -x) for _, x in cases])
    lines, out = np.zeros((len(cases), 2, SIGN_LINE), B), np.zeros((len(cases), 2, lanes), I32)
    lines[..., :32], lines[..., SIGNS : SIGNS + 32] = abs(x), -(x < 0).astype(B)
    negative = np.where(x < 0, -x.astype(I32), 0).sum(-1, keepdims=True, dtype=I32)
    lines[..., NEGATIVE : NEGATIVE + 4] = negative.view(B)
    run(SIGNS_KERNEL, isa, count=len(cases), w=w, x=lines, out=out)
    quads = w.reshape(-1, 8, lanes, 4).astype(I32)
    assert np.array_equal(out, np.einsum("cqrb,ctqb->ctr", quads, x.reshape(-1, 2, 8, 4).astype(I32)))


def sums_of_4(w: Array, x: Array) -> Array:
    return (w.astype(I32) * x).reshape(-1, 4).sum(-1)
