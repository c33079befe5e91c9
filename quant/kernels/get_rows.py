"""Rows of a quantized matrix as float32: how token embeddings are read."""

from __future__ import annotations

from typing import Any

from ..blocks.parts import FloatParts, IntegerParts, prepared, require_kernels, signed_row
from ..format import Format
from ..jit.kernel import Kernel
from ..simd.instruction_set import InstructionSet

FIELDS = ("tokens", "ids", "weights", "out", "k", "row_bytes")


def get_rows(fmt: type[Format]) -> Kernel:
    """The kernel out (tokens, k) float32 = rows `ids` (tokens,) int64 of weights (rows, k); callers check the ids.

    Raises ValueError for a format without kernels.
    """
    require_kernels(fmt)
    return Kernel(f"get_rows_{fmt.name}", FIELDS, lambda v: _build(v, fmt), pieces="tokens")


def _build(v: InstructionSet, fmt: type[Format]) -> Any:
    parts = fmt.kernels(v)
    families: dict[type, Any] = {IntegerParts: _integer_row, FloatParts: _float_row}
    copy_row = families[type(parts)](v, fmt, parts)

    def run(counter, ith, nth, tokens, ids, weights, out, k, row_bytes):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            copy_row(weights + row_bytes * v.load_i64(ids + 8 * t), out + 4 * k * t, k)
            t = v.take_work(counter, 1)

    return run


def _float_row(v: InstructionSet, fmt: type[Format], parts: FloatParts) -> Any:
    row, one, nbytes = v.jitable(parts.row), v.jitable(parts.one), fmt.nbytes

    def copy_row(p, out, k):
        for i in range(0, k - 7, 8):
            v.store(out + 4 * i, row(p + nbytes * i))
        for i in range(k // 8 * 8, k):
            v.store(out + 4 * i, one(p + nbytes * i))

    return v.jitable(copy_row)


def _integer_row(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Any:
    row, row_scale, nbytes, block = signed_row(v, parts), v.jitable(parts.row_scale), fmt.nbytes, fmt.block
    row_min = v.jitable(parts.row_min or (lambda p, g: v.zero(v.f32x8)))
    offset = 1 << parts.shift if parts.shift >= 0 else 0
    block_of, all_rows = prepared(v, parts), v.unroll_map(block // 32, lambda g, at: row(at, g))

    def eight(j: int) -> Any:
        bytes_of, spread = v.slice_of(8 * j, 8), v.splat_of(2 * j)

        def step(q, scale, low, out):
            number = v.widen_signed(v.i32x8, bytes_of(q)) - offset
            value = v.to_f32(v.f32x8, number) * spread(scale)
            v.store(out + 32 * j, value + spread(low))

        return step

    four = v.map_parts(4, eight)

    def group(g: int) -> Any:
        return lambda p, rows, out: four(rows[g], row_scale(p, g), row_min(p, g), out + 128 * g)

    groups = v.map_parts(block // 32, group)

    def copy_row(p, out, k):
        for b in range(k // block):
            at, to = p + nbytes * b, out + 4 * block * b
            groups(at, all_rows(block_of(at, to)), to)  # what is prepared gives way to the values

    return v.jitable(copy_row)
