"""Activations as bytes, the other operand of every integer format: Q8 records, one per token.

A record begins with a cache line for every 32 values: the bytes, int8, at 0; their scale, float32, at SCALE; minus
eight times their sum, int32, at SUM; scale times sum, float32, at SCALED; scale times the sum of the first half,
float32, at SCALED_LOW; minus 32 times the sums of both halves, int32, at HALVES; for both halves, minus 32 times the
sums of first and of second pairs of four, two int16, at PAIRS. The sums let a format's offset and minimum leave the
inner loop: products start from them, so they are negative and already multiplied by the most common offset, 1 <<
SUM_SHIFT, of two scales 1 << HALVES_SHIFT. After the lines come three columns, float32 (k / 32,) each, for
reading eight groups at once: the scales, minus the sums of the low halves, minus the sums of the high halves; and all
bytes once more, without gaps. Sets with SIGNS have a line of SIGN_LINE bytes for every 32 values behind them: the
magnitudes of the bytes at 0; at SIGNS all ones for each that is negative, else 0; at NEGATIVE, int32, the sum of the
magnitudes of those; at SIGNED_SCALE their scale, float32, so that nothing else is read. A weight with all bits changed
is minus itself less 1, so that sum is what its products lack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..jit.kernel import kernel
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK, LINE = 32, 64
SCALE, SUM, SCALED, SCALED_LOW, HALVES, PAIRS = 32, 36, 40, 44, 48, 56
SIGN_LINE, SIGNS, NEGATIVE, SIGNED_SCALE = 72, 32, 64, 68
SUM_SHIFT, PAIR_SHIFT = 3, 5
HALVES_SHIFT = PAIR_SHIFT  # Q6_K starts from it as it is: a shift costs AVX-512 a pipe that products need
ROUNDER = 1.5 * 2**23  # added to a small number, it leaves the nearest integer in the low bits, ties to even


def q8_bytes(k: int) -> int:
    """Bytes of the record of one row of `k` values; a spare line keeps rows off the same cache sets."""
    return k * 45 // 8 + LINE


def q8_signs(k: int) -> int:
    """Where the lines of signs begin in such a record."""
    return k * 27 // 8


def q8_reference(x: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """What `quantize_q8` computes: x (..., k) float32 -> bytes (..., k), scales (..., k / 32); x ~ bytes * scale."""
    import numpy as np

    groups = x.reshape(*x.shape[:-1], -1, BLOCK)
    peak = np.abs(groups).max(-1)
    inverse = np.divide(np.float32(127), peak, out=np.zeros_like(peak), where=peak > 0)
    q = np.rint(groups * inverse[..., None]).astype(np.int8)
    bits = (peak * np.float32(1 / 127)).view(np.int32)
    return q.reshape(x.shape), (bits + 0xFFF + (bits >> 13 & 1) >> 13 << 13).view(np.float32)


def _short_scale(v: InstructionSet) -> Any:
    """`(bits)` of a float32, cut to 11 significant bits: the precision of float16 scales of others, not their range."""
    return v.jitable(lambda bits: bits + 0xFFF + (bits >> 13 & 1) >> 13 << 13)


def pair_sums(v: InstructionSet) -> Any:
    """`(both, first)`: minus 32 times the int32 `first`, and times the rest of `both`, as two int16."""
    return v.jitable(lambda both, first: (first * -(1 << PAIR_SHIFT)) & 0xFFFF | (first - both) << (PAIR_SHIFT + 16))


def _sizes(v: InstructionSet) -> Any:
    """`(bytes)` -> their magnitudes; none is -128."""
    return v.jitable(lambda x: v.maximum(x, v.zero(v.i8x32) - x))


def _sign_bytes(v: InstructionSet) -> Any:
    """`(bytes, line)`: 32 bytes as magnitudes and signs into a line of signs, where the set has them."""
    if not v.SIGNS:
        return v.jitable(lambda bytes_of, line: 0)
    sizes_of = _sizes(v)

    def run(bytes_of, line):
        v.store(line, sizes_of(bytes_of))
        v.store(line + SIGNS, v.shift_signed(bytes_of, 7))
        return 0

    return v.jitable(run)


def _group(v: InstructionSet) -> Any:
    """`(p, q, column, column_bytes, plain, line)`: 32 numbers to line `q`, columns, plain bytes, line of signs."""
    f32x32, i32x32, i32x8, int32, float32 = v.Vec("f32", BLOCK), v.Vec("i32", BLOCK), v.i32x8, v.int32, v.float32
    short_scale, pairs, sign_bytes, sizes_of = _short_scale(v), pair_sums(v), _sign_bytes(v), _sizes(v)
    signs = v.SIGNS

    def run(p, q, column, column_bytes, plain, line):
        x = v.load(f32x32, p)
        peak = v.as_f32(v.reduce_max(v.bitcast(i32x32, x) & 0x7FFFFFFF))
        inverse = float32(127) / peak if peak > 0 else float32(0)
        rounded = v.sub_exact(v.mul_exact(x, v.splat(f32x32, inverse)), v.splat(f32x32, -ROUNDER))
        bytes_of = v.truncate(v.i8x32, v.bitcast(i32x32, rounded))
        v.store(q, bytes_of)
        v.store(plain, bytes_of)
        sign_bytes(bytes_of, line)
        sums = v.dot4(v.zero(i32x8), v.splat(v.i8x32, 1), bytes_of)
        low, high = v.reduce_add(v.low_half(sums)), v.reduce_add(v.high_half(sums))
        if signs:
            sizes = v.reduce_add(v.dot4(v.zero(i32x8), v.splat(v.i8x32, 1), sizes_of(bytes_of)))
            v.store(line + NEGATIVE, int32((sizes - low - high) >> 1))
        scale = v.as_f32(short_scale(v.bits_of(peak * float32(1 / 127))))
        if signs:
            v.store(line + SIGNED_SCALE, scale)
        v.store(q + SCALE, scale)
        v.store(q + SUM, int32(-(low + high) << SUM_SHIFT))
        v.store(q + SCALED, scale * float32(low + high))
        v.store(q + HALVES, int32(-low << HALVES_SHIFT))
        v.store(q + HALVES + 4, int32(-high << HALVES_SHIFT))
        v.store(q + SCALED_LOW, scale * float32(low))
        first = v.dot4(v.zero(i32x8), v.bitcast(v.i8x32, v.splat(i32x8, 0x0101)), bytes_of)
        v.store(q + PAIRS, int32(pairs(low, v.reduce_add(v.low_half(first)))))
        v.store(q + PAIRS + 4, int32(pairs(high, v.reduce_add(v.high_half(first)))))
        v.store(column, scale)
        v.store(column + column_bytes, float32(-low))
        v.store(column + 2 * column_bytes, float32(-high))

    return v.jitable(run)


def _eight_peaks(v: InstructionSet) -> Any:
    """`(p, q)`: the bits of the greatest magnitude of each of eight groups at `p`; overwrites the lines at `q`."""
    i32x8, f32x32, i32x32 = v.i32x8, v.Vec("f32", BLOCK), v.Vec("i32", BLOCK)

    def in_a_line(g, p, q):
        bits = v.bitcast(i32x32, v.load(f32x32, p + 4 * BLOCK * g)) & 0x7FFFFFFF
        both = v.maximum(v.low_half(bits), v.high_half(bits))
        v.store(q + LINE * g, v.maximum(v.low_half(both), v.high_half(both)))
        return 0

    lines = v.unroll_map(8, in_a_line)
    greatest = v.unroll_fold(4, lambda i, most, rows: v.maximum(most, v.tuple_get(rows, i)))

    def run(p, q):
        lines(p, q)
        return greatest(greatest(v.zero(i32x8), v.load_rows(i32x8, q, LINE)), v.load_rows(i32x8, q + 16, LINE))

    return v.jitable(run)


def _eight_stores(v: InstructionSet) -> Any:
    """`(p, q, plain, lines, inverses)`: bytes of eight groups into lines at `q`, plain bytes and lines of signs."""
    f32x32, i32x32, sign_bytes = v.Vec("f32", BLOCK), v.Vec("i32", BLOCK), _sign_bytes(v)

    def part(g):
        lane = v.splat_of(g)

        def run(p, q, plain, lines, inverses):
            by = lane(inverses)
            four = v.join(v.join(by, by), v.join(by, by))
            scaled = v.mul_exact(v.load(f32x32, p + 4 * BLOCK * g), four)
            rounded = v.sub_exact(scaled, v.splat(f32x32, -ROUNDER))  # ARM would fuse a plain addition with the product
            bytes_of = v.truncate(v.i8x32, v.bitcast(i32x32, rounded))
            v.store(q + LINE * g, bytes_of)
            v.store(plain + BLOCK * g, bytes_of)
            return sign_bytes(bytes_of, lines + SIGN_LINE * g)

        return v.jitable(run)

    return v.map_parts(8, part)


def _eight_heads(v: InstructionSet) -> Any:
    """`(q, heads)`: 32 bytes of each of eight groups behind its numbers in the lines at `q`."""

    def part(g):
        line = v.slice_of(8 * g, 8)

        def run(q, heads):
            v.store(q + SCALE + LINE * g, line(heads))
            return 0

        return v.jitable(run)

    return v.map_parts(8, part)


def _eight_negatives(v: InstructionSet) -> Any:
    """`(lines, low rows, high rows, sums, scale bits)`: sums of the magnitudes of negative bytes, and the scales, into
    eight lines of signs."""
    i32x8, sizes_of = v.i32x8, _sizes(v)

    def add(i, sum, rows):
        return v.dot4(sum, v.splat(v.i8x32, 1), sizes_of(v.bitcast(v.i8x32, v.tuple_get(rows, i))))

    sizes = v.unroll_fold(4, add)

    def part(g):
        numbers = v.slice_of(2 * g, 2)

        def run(lines, both):
            v.store(lines + SIGN_LINE * g + NEGATIVE, numbers(both))
            return 0

        return v.jitable(run)

    every = v.map_parts(8, part)

    def run(lines, low_rows, high_rows, sums, scale_bits):
        negative = v.shift_signed(sizes(sizes(v.zero(i32x8), low_rows), high_rows) - sums, 1)
        every(lines, v.zip_lanes(negative, scale_bits))

    return v.jitable(run) if v.SIGNS else v.jitable(lambda lines, low_rows, high_rows, sums, scale_bits: None)


def _eight_groups(v: InstructionSet) -> Any:
    """As `_group` for eight of them at once: a lane for each group, so that nothing is summed across lanes.

    Numbers of a group become a column by way of memory: lines are written, then read transposed.
    """
    f32x8, i32x8 = v.f32x8, v.i32x8
    short_scale, pairs = _short_scale(v), pair_sums(v)
    peaks, stores, heads, negatives = _eight_peaks(v), _eight_stores(v), _eight_heads(v), _eight_negatives(v)
    summed = v.unroll_fold(4, lambda i, sum, rows, ones: v.dot4(sum, ones, v.bitcast(v.i8x32, v.tuple_get(rows, i))))

    def run(p, q, column, column_bytes, plain, lines):
        peak = v.bitcast(f32x8, peaks(p, q))
        whole = v.div_exact(v.splat(f32x8, 127.0), peak)
        stores(p, q, plain, lines, v.select_gt(peak, v.zero(f32x8), whole, v.zero(f32x8)))
        low_rows, high_rows = v.load_rows(i32x8, q, LINE), v.load_rows(i32x8, q + 16, LINE)
        ones, first = v.splat(v.i8x32, 1), v.bitcast(v.i8x32, v.splat(i32x8, 0x0101))
        low, high = summed(v.zero(i32x8), low_rows, ones), summed(v.zero(i32x8), high_rows, ones)
        low_pairs = pairs(low, summed(v.zero(i32x8), low_rows, first))
        high_pairs = pairs(high, summed(v.zero(i32x8), high_rows, first))
        scale_bits = short_scale(v.bitcast(i32x8, peak * (1 / 127)))
        scale, both, none = v.bitcast(f32x8, scale_bits), low + high, v.zero(i32x8)
        scaled, scaled_low = v.to_f32(f32x8, both) * scale, v.to_f32(f32x8, low) * scale
        v.store(column, scale)
        v.store(column + column_bytes, v.to_f32(f32x8, none - low))
        v.store(column + 2 * column_bytes, v.to_f32(f32x8, none - high))
        eighths = (
            v.zip_lanes(scale_bits, (none - low) << HALVES_SHIFT),
            v.zip_lanes(v.bitcast(i32x8, scaled), low_pairs),
        )
        others = (
            v.zip_lanes((none - both) << SUM_SHIFT, (none - high) << HALVES_SHIFT),
            v.zip_lanes(v.bitcast(i32x8, scaled_low), high_pairs),
        )
        negatives(lines, low_rows, high_rows, both, scale_bits)
        heads(q, v.zip_lanes(v.zip_lanes(*eighths), v.zip_lanes(*others)))

    return v.jitable(run)


def q8_quantizer(v: InstructionSet) -> Any:
    """`(row, record, k)`: k float32 at `row` into a Q8 record. NaN and infinity reach the group's scale."""
    eight, one, signs_at = _eight_groups(v), _group(v), v.jitable(q8_signs)

    @v.jitable
    def places(i, row, record, k):
        """Of group i: its numbers, line, column and what lies between columns, plain bytes, line of signs."""
        column, plain, signs = record + 2 * k, record + k * 19 // 8, record + signs_at(k)
        return row + 4 * BLOCK * i, record + LINE * i, column + 4 * i, k // 8, plain + BLOCK * i, signs + SIGN_LINE * i

    def run(row, record, k):
        groups = k // BLOCK
        for i in range(0, groups - 7, 8):
            eight(*places(i, row, record, k))
        for i in range(groups // 8 * 8, groups):
            one(*places(i, row, record, k))

    return v.jitable(run)


@kernel("tokens x out k", pieces="tokens")
def quantize_q8(v: InstructionSet) -> Any:
    """out (tokens, q8_bytes(k)) = x (tokens, k) float32 in Q8 records. NaN and infinity reach the group's scale."""
    quantize, record_bytes = q8_quantizer(v), v.jitable(q8_bytes)

    def run(counter, ith, nth, tokens, x, out, k):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            quantize(x + 4 * k * t, out + record_bytes(k) * t, k)
            t = v.take_work(counter, 1)

    return run
