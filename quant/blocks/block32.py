"""What formats with blocks of 32 values share: a float16 beside the numbers, and the four layouts of nibbles.

`NibbleBlock` is all of Q4_0, Q4_1, Q5_0 and Q5_1 but their parameters; the functions serve other formats of 32 as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..scale_search.affine import Affine, affine
from ..scale_search.search import FLOAT16_D, FLOAT16_DMIN
from ..scale_search.symmetric import Symmetric, symmetric
from ..simd.instruction_set import InstructionSet
from .fields import extreme, fields, float16_bytes, float16_values, inverse, level, pack_fields
from .fifth_bits import bits_4, spread, spread_words
from .legacy_block_quant import block_quant
from .packing import copy_float16
from .parts import IntegerParts, Part, QuantizeParts, TileParts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NIBBLES = 0x0F0F0F0F


def float16_at(v: InstructionSet, at: int, nbytes: int) -> tuple[Part, Part]:
    """`row_scale` and `columns` of IntegerParts, or `row_min` and `column_min`, for the float16 at byte `at`."""
    return lambda p, g: v.load_f16_splat(v.f32x8, p + at), lambda p: (v.load_f16_column(v.f32x8, p + at, nbytes),)


def nibbles_to_tile(v: InstructionSet, at: int, decode: Callable[[Any], Any]) -> Part:
    """`(p, stride, tile)`: the nibbles at byte `at` of LANES blocks into a tile, each vector by way of `decode`."""
    vector, number = 4 * v.LANES, v.jitable(decode)

    def unpack(p, stride, tile):
        quads = v.load_rows(v.i32, p + at, stride)
        for j in range(4):
            v.store(tile + vector * j, number(quads[j] & NIBBLES))
            v.store(tile + vector * (j + 4), number((quads[j] >> 4) & NIBBLES))

    return v.jitable(unpack)


def tile_nibbles(v: InstructionSet, at: int) -> Part:
    """`(p, stride)` -> the nibbles at byte `at` of LANES blocks as 8 vectors of bytes (lane = row)."""
    split = v.unroll_map(8, lambda j, quads: v.bitcast(v.i8, quads[j % 4] >> 4 * (j // 4) & NIBBLES))
    return v.jitable(lambda p, stride: split(v.load_rows(v.i32, p + at, stride)))


def pack_nibbles(v: InstructionSet) -> Part:
    """`pack` of QuantizeParts for blocks of a float16 d and 16 bytes of nibbles."""
    copy, store_nibbles = copy_float16(v), block_quant(v).store_nibbles

    def pack(out, q, scratch, group):
        copy(out, scratch + FLOAT16_D + 2 * group)
        store_nibbles(out + 2, v.load(v.i8x16, q), v.load(v.i8x16, q + 16))

    return pack


@dataclass(frozen=True, slots=True)
class NibbleBlock:
    """A block of float16 d; float16 m, where the search is affine; bits 4 of q, where there are 5; nibbles of q.

    x = d * q + m, or d * (q - offset) without m. The four methods are those of `Format`.
    """

    bits: int
    search: Affine | Symmetric

    @property
    def offset(self) -> int:
        return 0 if isinstance(self.search, Affine) else 1 << self.bits - 1

    @property
    def max_level(self) -> int:
        return (1 << self.bits) - 1

    @property
    def bits_4_at(self) -> int:
        """Byte at which bits 4 begin, if there are any."""
        return 4 if isinstance(self.search, Affine) else 2

    @property
    def nibbles_at(self) -> int:
        return self.bits_4_at + 4 * (self.bits == 5)

    @property
    def nbytes(self) -> int:
        return self.nibbles_at + 16

    # ---- kernels ----

    def kernels(self, v: InstructionSet) -> IntegerParts:
        numbers, row = self._unpack_5(v) if self.bits == 5 else self._unpack_4(v)
        (row_scale, columns), (row_min, column_min) = float16_at(v, 0, self.nbytes), float16_at(v, 2, self.nbytes)

        def scale(p, stride, tile):
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))

        def scale_and_minimum(p, stride, tile):
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))
            v.store(tile + 36 * v.LANES, v.load_f16_column(v.f32, p + 2, stride))

        affine_block = isinstance(self.search, Affine)
        scales = v.jitable(scale_and_minimum if affine_block else scale)

        def unpack(p, stride, tile):
            numbers(p, stride, tile)
            scales(p, stride, tile)

        tile = TileParts(self._tile_weights(v), scales, rearrange=self._rearrange(v) if self.bits == 5 else None)
        if not affine_block:
            return IntegerParts(self.bits, unpack, row, row_scale, columns, shift=self.bits - 1, tile=tile)
        return IntegerParts(self.bits, unpack, row, row_scale, columns, row_min, column_min, tile=tile)

    def _tile_weights(self, v: InstructionSet) -> Part:
        at, high_at = self.nibbles_at, self.bits_4_at
        nibbles = tile_nibbles(v, at)
        if self.bits == 4:
            return lambda p, stride, n, i: nibbles(p, stride)
        fifth = bits_4(v)
        add_bits = v.unroll_map(8, lambda j, low, high: low[j] | v.bitcast(v.i8, fifth(j, high)))
        return lambda p, stride, n, i: add_bits(nibbles(p, stride), v.load_column(v.i32, p + high_at, stride))

    def _rearrange(self, v: InstructionSet) -> Part:
        """`rearrange` of TileParts: bits 4 change places."""
        lanes, at, high_at, spread_bits = v.LANES, self.nibbles_at, self.bits_4_at, spread(v)

        def rearrange(p, stride, tile):
            quads, high = v.load_rows(v.i32, p + at, stride), v.load_column(v.i32, p + high_at, stride)
            for i in range(0, high_at, 2):
                v.store(tile + lanes * i, v.load_column(v.i16, p + i, stride))
            v.store(tile + lanes * high_at, spread_bits(high))
            for j in range(4):
                v.store(tile + lanes * (at + 4 * j), quads[j])

        return rearrange

    def _unpack_4(self, v: InstructionSet) -> tuple[Part, Part]:
        at = self.nibbles_at
        return nibbles_to_tile(v, at, lambda q: q), lambda p, g: v.nibbles(v.load(v.i8x16, p + at))

    def _unpack_5(self, v: InstructionSet) -> tuple[Part, Part]:
        at, high_at = self.nibbles_at, self.bits_4_at

        def numbers(p, stride, tile):
            quads, high = v.load_rows(v.i32, p + at, stride), v.load_column(v.i32, p + high_at, stride)
            for j in range(4):
                v.store(tile + 4 * v.LANES * j, quads[j] & NIBBLES | v.spread_4_bits(high >> 4 * j) << 4)
                fifth = v.spread_4_bits(high >> 4 * j + 16) << 4
                v.store(tile + 4 * v.LANES * (j + 4), (quads[j] >> 4) & NIBBLES | fifth)

        def row(p, g):
            return v.nibbles(v.load(v.i8x16, p + at)) | v.load_spread_bits(v.i8x32, p + high_at) & 16

        return v.jitable(numbers), row

    def quantize_parts(self, v: InstructionSet) -> QuantizeParts:
        copy, i16, store_levels = copy_float16(v), v.Vec("i16", 1), self._store_levels(v)

        def pack(out, q, scratch, group):
            copy(out, scratch + FLOAT16_D + 2 * group)
            store_levels(out, v.load(v.i8x16, q), v.load(v.i8x16, q + 16))

        def pack_with_minimum(out, q, scratch, group):
            pack_scale(out, q, scratch, group)
            v.store(out + 2, v.load(i16, scratch + FLOAT16_DMIN + 2 * group) ^ -0x8000)

        pack_scale = v.jitable(pack)
        if isinstance(self.search, Affine):
            return QuantizeParts(self._from_minimum(v), self.search, pack_with_minimum)
        return QuantizeParts(self._from_extreme(v), self.search, pack)

    def _store_levels(self, v: InstructionSet) -> Part:
        """`(out, first, last)`: two i8x16 of q into the block at `out`."""
        w, at, high_at = block_quant(v), self.nibbles_at, self.bits_4_at
        store_nibbles, store_bits_4 = w.store_nibbles, w.store_bits_4
        if self.bits == 4:
            return v.jitable(lambda out, first, last: store_nibbles(out + at, first, last))

        def store(out, first, last):
            store_bits_4(out + high_at, first, last)
            store_nibbles(out + at, first, last)

        return v.jitable(store)

    def _from_extreme(self, v: InstructionSet) -> Part:
        """`one_pass` without m: the value of largest magnitude gets q = 0."""
        w, store_levels, lowest = block_quant(v), self._store_levels(v), -self.offset
        extreme_of, inverse_of, store_float16, levels_of = w.extreme, w.inverse, w.store_float16, w.levels
        add, max_level = self.offset + 0.5, self.max_level

        def one_pass(x, out):
            bits, value = extreme_of(x)
            d = v.div_exact(value, v.float32(lowest))
            first, last = levels_of(x, v.float32(0), inverse_of(d), add, max_level)
            store_float16(out, d)
            store_levels(out, first, last)
            return bits

        return one_pass

    def _from_minimum(self, v: InstructionSet) -> Part:
        """`one_pass` with m, the smallest value: it gets q = 0, the largest max_level."""
        w, store_levels, max_level = block_quant(v), self._store_levels(v), self.max_level
        span_of, inverse_of, store_float16, levels_of = w.span, w.inverse, w.store_float16, w.levels

        def one_pass(x, out):
            bits, low, high = span_of(x)
            d = v.div_exact(v.sub_exact(high, low), v.float32(max_level))
            first, last = levels_of(x, low, inverse_of(d), 0.5, max_level)
            store_float16(out, d)
            store_float16(out + 2, low)
            store_levels(out, first, last)
            return bits

        return one_pass

    # ---- the same in NumPy ----

    def dequantize_blocks(self, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        d, q = float16_values(blocks[:, :2]), fields(blocks[:, self.nibbles_at :], 4)
        if self.bits == 5:
            high = np.unpackbits(blocks[:, self.bits_4_at : self.nibbles_at], axis=1, bitorder="little")
            q = q | high << np.uint8(4)
        if isinstance(self.search, Affine):
            return d * q.astype(np.float32) + float16_values(blocks[:, 2:4])
        return d * (q.astype(np.float32) - self.offset)

    def rearrange_blocks(self, blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """That of formats with 5 bits."""
        import numpy as np

        first, high, nibbles = np.split(blocks, [self.bits_4_at, self.nibbles_at], axis=1)
        spread_bits = spread_words(np.ascontiguousarray(high).view(np.uint32)).view(np.uint8)
        return np.concatenate([first, spread_bits, nibbles], axis=1)

    def quantize_blocks(self, x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        header, q = self._searched(x, importance) if importance is not None else self._one_pass(x)
        columns = [float16_bytes(column) for column in header]
        if self.bits == 5:
            columns.append(np.packbits(q >> 4, axis=1, bitorder="little"))
        return np.concatenate([*columns, pack_fields(q & np.uint8(15), 4)], axis=1)

    def _one_pass(self, x: NDArray[np.float32]) -> tuple[list[NDArray[np.float32]], NDArray[np.uint8]]:
        """d, and m where there is one, (n, 1) each; and q (n, 32)."""
        import numpy as np

        if isinstance(self.search, Affine):
            m = x.min(axis=1, keepdims=True)
            d = (x.max(axis=1, keepdims=True) - m) / self.max_level
            return [d, m], level((x - m) * inverse(d), 0, self.max_level)
        d = extreme(x) / np.float32(-self.offset)
        return [d], level(x * inverse(d), self.offset, self.max_level)

    def _searched(
        self, x: NDArray[np.float32], importance: NDArray[np.float32]
    ) -> tuple[list[NDArray[np.float32]], NDArray[np.uint8]]:
        if isinstance(self.search, Affine):
            blocks = affine(x, importance, self.search)
            return [blocks.d[:, None], -blocks.dmin[:, None]], blocks.q
        found = symmetric(x, importance, self.search)
        return [found.d[:, None]], found.q
