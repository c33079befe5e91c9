"""Tensors that are read a few rows at a time, and operations on them that never hold a whole tensor.

Rows are counted over all dimensions but the last. Values stored in half precision stay so, as in llama.cpp's
converter; others are float32.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import BadFileError

Values = NDArray[Any]  # float16 or float32
HINT = "the folder is damaged or of another model; download it again"


@dataclass(frozen=True, slots=True)
class Stream:
    """A tensor of `shape`, whose `format` ("F32", "F16", "BF16") holds every value exactly.

    `read(first, end)` returns rows first..end - 1 as (end - first, k), float16 or float32. `blocks`, where a tensor is
    stored in another format ("Q4_0", "I32"), are its bytes: uint8 (end - first, bytes of a row). `turned` is the tensor
    with its last two dimensions swapped, where it is stored so.
    """

    shape: tuple[int, ...]
    format: str
    read: Callable[[int, int], Values]
    blocks: Stream | None = None
    turned: Stream | None = None

    @property
    def rows(self) -> int:
        """Product of all dimensions but the last; 1 for a vector."""
        return prod(self.shape[:-1])

    @property
    def k(self) -> int:
        return self.shape[-1]

    @property
    def float_format(self) -> str:
        """The format of the values as `read` gives them."""
        return self.format if self.blocks is None else "F32"


def constant(values: ArrayLike) -> Stream:
    """A tensor of given values, float32."""
    held = np.asarray(values, np.float32)
    flat = held.reshape(-1, held.shape[-1])
    return Stream(held.shape, "F32", lambda first, end: flat[first:end])


def plus(x: Stream, number: float) -> Stream:
    """`x + number`, rounded to half precision where `x` is F16."""

    def read(first: int, end: int) -> Values:
        values = x.read(first, end)
        total: Values = np.add(values, values.dtype.type(number), dtype=values.dtype)
        return total

    return Stream(x.shape, "F16" if x.format == "F16" else "F32", read)


def times(x: Stream, factors: ArrayLike) -> Stream:
    """`x` times a number, or times one for each row (rows,); rounded to half precision where `x` is F16."""
    by_row = np.broadcast_to(np.asarray(factors, np.float32), x.rows)[:, None]

    def read(first: int, end: int) -> Values:
        values = x.read(first, end)
        product: Values = (values * by_row[first:end]).astype(values.dtype)
        return product

    return Stream(x.shape, "F16" if x.format == "F16" else "F32", read)


def take(x: Stream, order: NDArray[np.int64]) -> Stream:
    """The rows `order` of a matrix, or elements of a vector; reads are cheap where neighbours come from neighbours."""
    if len(x.shape) == 1:
        return Stream((len(order),), x.float_format, lambda first, end: x.read(0, 1)[:, order][first:end])

    def read(first: int, end: int) -> Values:
        wanted = order[first:end]
        low = int(wanted.min(initial=x.rows))
        high = int(wanted.max(initial=low - 1)) + 1
        return x.read(low, high)[wanted - low]

    return Stream((len(order), x.k), x.format, read, x.blocks and take(x.blocks, order))


def take_columns(x: Stream, order: NDArray[np.int64]) -> Stream:
    """The columns `order` of a matrix or of stacked matrices."""
    return Stream((*x.shape[:-1], len(order)), x.float_format, lambda first, end: x.read(first, end)[:, order])


def padded(x: Stream, rows: int) -> Stream:
    """A matrix with rows of zeros below, `rows` in all; `x` itself where it has so many."""

    def read(first: int, end: int) -> Values:
        held = x.read(min(first, x.rows), min(end, x.rows))
        return np.concatenate([held, np.zeros((end - first - len(held), x.k), held.dtype)])

    return x if rows <= x.rows or len(x.shape) != 2 else Stream((rows, x.k), x.float_format, read)


def part(x: Stream, first: int, end: int) -> Stream:
    """Elements first..end - 1 of the last dimension but one: of a vector its elements, of each stacked matrix rows."""
    size = x.shape[-2] if len(x.shape) > 1 else x.k
    if not 0 <= first <= end <= size:
        raise BadFileError(f"a tensor of {size} rows has no rows {first} to {end}", HINT)
    if len(x.shape) == 1:
        return Stream((end - first,), x.float_format, lambda low, high: x.read(0, 1)[low:high, first:end])
    count = end - first
    shape = (*x.shape[:-2], count, x.k)

    def read(low: int, high: int) -> Values:
        pieces = []
        while low < high:
            matrix, row = divmod(low, count)
            step = min(count - row, high - low)
            start = matrix * size + first + row
            pieces.append(x.read(start, start + step))
            low += step
        return _together(pieces, x)

    return Stream(shape, x.format, read, x.blocks and part(x.blocks, first, end))


def split(x: Stream, sizes: Sequence[int]) -> list[Stream]:
    """`x` cut along the last dimension but one (a vector: its only one). Raises BadFileError unless sizes add up."""
    size = x.shape[-2] if len(x.shape) > 1 else x.k
    if sum(sizes) != size:
        raise BadFileError(f"a tensor of {size} rows cannot be cut into {' + '.join(map(str, sizes))}", HINT)
    return [part(x, first, end) for first, end in pairwise(accumulate(sizes, initial=0))]


def joined(xs: Sequence[Stream]) -> Stream:
    """Vectors concatenated, or matrices concatenated along their rows. Raises BadFileError where shapes differ."""
    if len({x.shape[1:] for x in xs}) > 1 or len(xs[0].shape) > 2:
        raise BadFileError(f"tensors of shapes {', '.join(str(x.shape) for x in xs)} cannot be joined", HINT)
    if len(xs[0].shape) == 1:
        size, format = sum(x.k for x in xs), _common([x.float_format for x in xs])
        return Stream((size,), format, lambda first, end: np.hstack([x.read(0, 1) for x in xs])[first:end])
    return _below(xs, (sum(x.shape[0] for x in xs), xs[0].k))


def stacked(xs: Sequence[Stream]) -> Stream:
    """Tensors of one shape stacked along a new first dimension. Raises BadFileError where shapes differ."""
    if len({x.shape for x in xs}) > 1:
        raise BadFileError(f"tensors of shapes {', '.join(sorted({str(x.shape) for x in xs}))} cannot be stacked", HINT)
    return _below(xs, (len(xs), *xs[0].shape))


def transposed(x: Stream) -> Stream:
    """The last two dimensions swapped. Every read passes over a whole matrix of `x`, a few rows at a time."""
    if len(x.shape) < 2:
        raise BadFileError(f"a tensor of shape {x.shape} cannot be transposed", HINT)
    if x.turned is not None:
        return x.turned
    *outer, rows, k = x.shape

    def read(first: int, end: int) -> Values:
        pieces = []
        while first < end:
            matrix, low = divmod(first, k)
            high = min(k, low + end - first)
            columns = [x.read(i, j)[:, low:high] for i, j in _steps(matrix * rows, rows, k)]
            pieces.append(np.concatenate(columns or [x.read(0, 0)[:, low:high]]).T)
            first += high - low
        return _together(pieces, x)

    return Stream((*outer, k, rows), x.float_format, read, turned=x)


def reshaped(x: Stream, *shape: int) -> Stream:
    """The same rows with other leading dimensions. Raises BadFileError where the sizes do not fit."""
    if prod(shape) != prod(x.shape) or shape[-1] != x.k:
        raise BadFileError(f"a tensor of shape {x.shape} cannot be taken as {shape}", HINT)
    blocks = x.blocks and reshaped(x.blocks, *shape[:-1], x.blocks.k)
    return replace(x, shape=shape, blocks=blocks, turned=None)


def flattened(x: Stream) -> Stream:
    """A tensor as a matrix: its first dimension, and all others together."""
    rows, each = x.shape[0], prod(x.shape[1:-1])
    return Stream(
        (rows, each * x.k), x.float_format, lambda first, end: x.read(first * each, end * each).reshape(end - first, -1)
    )


def _below(xs: Sequence[Stream], shape: tuple[int, ...]) -> Stream:
    starts = list(accumulate((x.rows for x in xs), initial=0))

    def read(first: int, end: int) -> Values:
        pieces = []
        while first < end:
            i = bisect_right(starts, first) - 1
            stop = min(end, starts[i + 1])
            pieces.append(xs[i].read(first - starts[i], stop - starts[i]))
            first = stop
        return _together(pieces, xs[0])

    blocks = [x.blocks for x in xs if x.blocks is not None]
    alike = len({x.format for x in xs}) == 1 and len(blocks) == len(xs)
    format = xs[0].format if alike else _common([x.float_format for x in xs])
    return Stream(shape, format, read, _below(blocks, (*shape[:-1], blocks[0].k)) if alike else None)


def _together(pieces: list[Values], like: Stream) -> Values:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [like.read(0, 0)])


def _common(formats: Sequence[str]) -> str:
    return formats[0] if len(set(formats)) == 1 else "F32"


def _steps(first: int, rows: int, k: int) -> list[tuple[int, int]]:
    """Ranges of about 4 Mi values that cover `rows` rows from `first` on."""
    step = max(1, (1 << 22) // max(k, 1))
    return [(i, min(i + step, first + rows)) for i in range(first, first + rows, step)]
