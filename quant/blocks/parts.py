"""The SIMD parts of a format, from which the kernels build their loops.

A weight is d * (q - offset) + m: `q` a small unsigned number (or a signed byte), `d` the scale of its group, `m` the
group's minimum where the format has one. All functions are jitable; addresses are int64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    from ..scale_search.affine import Affine
    from ..scale_search.codebook import Codebook
    from ..scale_search.symmetric import Symmetric

Part = Callable[..., Any]
FIELDS = 256  # bytes that `prepare` may write


@dataclass(frozen=True, slots=True)
class TileParts:
    """How products of interleaved rows keep the weights of a block in registers (see `kernels.interleave`).

    `weights(p, stride, n, i)`: group `unit * n + i` of 32 weights of LANES rows as 8 vectors of bytes (lane = row, 4
    consecutive weights); `i` is a constant. `scales(p, stride, tile)`: writes scales and minima where `unpack` does.
    `rearrange(p, stride, at)`, where the format has `rearrange_blocks`: a block of LANES rows, the first at `p`, into
    the tile at `at`.
    """

    weights: Part
    scales: Part
    unit: int = 1
    rearrange: Part | None = None


@dataclass(frozen=True, slots=True)
class IntegerParts:
    """A format whose products run on bytes.

    `unpack(p, stride, tile)`: one block of LANES rows, the first at `p`, into `tile`; for every 32 weights that is 8
        vectors of bytes (lane = row, 4 consecutive weights), then the scales (1 or 2 float vectors), then the minima.
        None, in blocks of 256 without minima: from `row` and `columns`.
    `prepare(p, fields)`, where it is worth the while to look at a block of 256 as a whole first: writes at most FIELDS
        bytes, and `row(fields, g)` reads them in place of the block.
    `row(p, g)`: weights 32 g .. 32 g + 31 of the block at `p`, as bytes in their order. With `minus(p, g)`, all ones
        where a weight is below 0, `row` gives magnitudes: a single row's products change signs of activations.
    `row_scale(p, g)`: their scales as float32x8, lane i for weights 4 i .. 4 i + 3.
    `row_min(p, g)`: their minima, likewise.
    `columns(p)`: scales of 256 weights from the block at `p` on: a tuple of float32x8 with a lane for every 32 weights,
        one vector, or two where the halves of 32 differ. `column_min(p)`: their minima, likewise.
    """

    bits: int  # of q, rounded up to 4: how many products fit 16 bits
    unpack: Part | None
    row: Part
    row_scale: Part
    columns: Part
    row_min: Part | None = None
    column_min: Part | None = None
    shift: int = -1  # the offset is 1 << shift; -1: none
    scales: int = 1  # per 32 weights
    minima: int = 1  # per 32 weights, where there are any
    signed: bool = False
    prepare: Part | None = None
    minus: Part | None = None
    tile: TileParts | None = None  # None: rows are not interleaved, since nothing is gained

    def tile_bytes(self, lanes: int) -> int:
        """Bytes of a tile for 32 weights of each row."""
        return lanes * (32 + 4 * self.scales + (4 * self.minima if self.row_min else 0))


@dataclass(frozen=True, slots=True)
class FloatParts:
    """A format whose weights become float32.

    `unpack(p, stride, tile)`: `step` weights of LANES rows into `tile`, one float vector per weight (lane = row).
    `row(p)`: 8 consecutive weights as float32x8. `one(p)`: one weight as float32.
    `pack(x)`: float32x8 as a vector of 8 weights, rounded to nearest even.
    """

    step: int
    unpack: Part
    row: Part
    one: Part
    pack: Part


@dataclass(frozen=True, slots=True)
class QuantizeParts:
    """How a format is quantized.

    `one_pass(x, out)`: one block of float32 at `x` to its bytes at `out`; the result is the bits of its greatest
        magnitude. `search` and `pack(out, levels, scratch, group)` serve where there is importance, or no `one_pass`:
        bytes of a block from what the search has left in `scratch`; `group` is the number of the block's first group,
        `levels` the address of a byte for each value, or of the indices and marks of `scale_search.codebook`.
    """

    one_pass: Part | None = None
    search: Affine | Codebook | Symmetric | None = None
    pack: Part | None = None


def of_group(v: InstructionSet, columns: Part, count: int = 1) -> Part:
    """`(p, g)`: what `columns`, of one vector or two, tells of one group in a block of 256."""
    every = v.jitable(columns)

    def of_halves(p, g):
        low, high = every(p)
        return v.join(v.low_half(v.splat_lane(low, g)), v.low_half(v.splat_lane(high, g)))

    return of_halves if count == 2 else lambda p, g: v.splat_lane(every(p)[0], g)


def signed_row(v: InstructionSet, parts: IntegerParts) -> Part:
    """`row`, with the signs of `minus`."""
    row = v.jitable(parts.row)
    if parts.minus is None:
        return row
    minus = v.jitable(parts.minus)
    return v.jitable(lambda p, g: v.negate(row(p, g), minus(p, g)))


def prepared(v: InstructionSet, parts: IntegerParts) -> Part:
    """`(p, fields)` -> where `row` reads the block at `p`; FIELDS bytes at `fields` are for `prepare`."""
    if parts.prepare is None:
        return v.jitable(lambda p, fields: p)
    prepare = v.jitable(parts.prepare)

    def run(p, fields):
        prepare(p, fields)
        v.forget_memory()
        return fields

    return v.jitable(run)


def float_activations(fmt: type[Format]) -> bool:
    """Whether products with `fmt` read float32 activations, not Q8 records."""
    return fmt.activations == "f32"


def require_kernels(fmt: type[Format]) -> None:
    """Raises ValueError for a format without kernels, that is one that is only stored."""
    if fmt.activations is None:
        raise ValueError(f"{fmt.name} tensors are stored, not multiplied: a weight cannot be one")
