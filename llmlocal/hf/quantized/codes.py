"""Matrices of integers with scales: as float32, or as blocks of a GGUF format that says the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...quant.blocks.fields import float16_bytes, pack_fields
from ...quant.format import BY_NAME
from ..streams import Stream, Values

BLOCK = 32  # values of a block of Q4_0, Q4_1 and Q8_0
SCANNED = 1 << 20  # scales that are looked at together
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Scales = tuple[Floats, NDArray[np.int32]]  # of rows: scales and zero points, (n, groups) each


@dataclass(frozen=True, slots=True)
class Codes:
    """A matrix (rows, k) as x = scale * (code - zero), with a scale and a zero point for `group` columns of a row.

    `codes(first, end)` gives the codes of rows, uint8 (n, k), each of `bits` bits; `scales` theirs, each (n, groups).
    `group_of` (k,) is the group of each column where groups are not made of neighbours.
    """

    shape: tuple[int, int]
    bits: int
    group: int
    codes: Callable[[int, int], Bytes]
    scales: Callable[[int, int], Scales]
    group_of: NDArray[np.int64] | None = None

    def stream(self) -> Stream:
        """The matrix, as blocks if a GGUF format holds every value exactly."""
        rows, k = self.shape
        format = self._format()
        if format is None:
            return Stream(self.shape, "F32", self._values)
        row_bytes = BY_NAME[format].nbytes * (k // BLOCK)
        blocks = Stream((rows, row_bytes), "U8", lambda first, end: self._blocks(format, first, end))
        return Stream(self.shape, format, self._values, blocks)

    def _values(self, first: int, end: int) -> Values:
        groups = np.arange(self.shape[1]) // self.group if self.group_of is None else self.group_of
        scales, zeros = self.scales(first, end)
        with np.errstate(over="ignore"):
            return (self.codes(first, end) - zeros[:, groups]).astype(np.float32) * scales[:, groups]

    def _format(self) -> str | None:
        """The format whose blocks hold the matrix exactly, None if there is none."""
        k = self.shape[1]
        if k % BLOCK or self.group_of is not None or (self.group % BLOCK and self.group < k):
            return None
        possible = {"Q4_0", "Q4_1", "Q8_0"}
        for scales, zeros in self._all_scales():
            with np.errstate(over="ignore"):
                halves = scales.astype(np.float16)
                smallest = (-scales * zeros).astype(np.float16)
            if not (np.isfinite(halves).all() and (halves == scales).all()):
                return None
            top = (1 << self.bits) - 1
            if self.bits > 4 or zeros.max(initial=0) > 8 or (top - zeros.min(initial=top)) > 7:
                possible.discard("Q4_0")
            if self.bits > 4 or not (np.isfinite(smallest).all() and (smallest == -scales * zeros).all()):
                possible.discard("Q4_1")
            if self.bits != 8 or (zeros != 128).any():
                possible.discard("Q8_0")
        return next((format for format in ("Q4_0", "Q4_1", "Q8_0") if format in possible), None)

    def _all_scales(self) -> Iterator[Scales]:
        rows, k = self.shape
        step = max(1, SCANNED * min(self.group, k) // k)
        for first in range(0, rows, step):
            yield self.scales(first, min(first + step, rows))

    def _blocks(self, format: str, first: int, end: int) -> Bytes:
        count = self.shape[1] // BLOCK
        groups = np.arange(count) * BLOCK // self.group
        scales, zeros = self.scales(first, end)
        scales, zeros = scales[:, groups].reshape(-1, 1), zeros[:, groups].reshape(-1, 1)
        codes = self.codes(first, end).reshape(-1, BLOCK)
        d = float16_bytes(scales)
        if format == "Q4_0":
            parts = [d, pack_fields((codes + (8 - zeros)).astype(np.uint8), 4)]
        elif format == "Q4_1":
            parts = [d, float16_bytes((-scales * zeros).astype(np.float32)), pack_fields(codes, 4)]
        else:
            parts = [d, codes ^ np.uint8(128)]
        return np.concatenate(parts, axis=1).reshape(end - first, -1)


def unpacked(rows: Bytes, bits: int, count: int) -> Bytes:
    """The first `count` integers of `bits` bits in each row of bytes, lowest bits first: (n, count) uint8."""
    if bits == 8:
        return rows[:, :count]
    if bits == 4:
        return np.stack([rows & 15, rows >> 4], axis=-1).reshape(len(rows), -1)[:, :count]
    each = np.unpackbits(rows, axis=1, count=count * bits, bitorder="little").reshape(len(rows), count, bits)
    return np.packbits(each, axis=2, bitorder="little")[:, :, 0]


def packed_words(count: int, bits: int) -> int:
    """How many integers of 32 bits hold `count` of `bits` bits without gaps."""
    return -(-count * bits // 32)
