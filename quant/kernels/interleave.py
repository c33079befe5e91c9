"""Rows interleaved for decode: a tile of LANES rows lies together, lane = row, so that one stream feeds all of them.

A block of `nbytes` bytes is cut into units of 4 bytes (and the few of 1 or 2 that `short_units` names). The tile holds,
block by block, every unit of its LANES rows side by side: byte `at` of the blocks begins at `at * LANES`. A tile takes
as many bytes as its rows did, and parts of the format read it through intrinsics that load what is already transposed.
A format may put the bits of a block in another order first, in which they are cheaper to take apart.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..blocks.parts import IntegerParts
from ..format import Format
from ..jit.kernel import Kernel
from ..simd.instruction_set import InstructionSet
from .panels import set_for_tiles
from .q8_activations import BLOCK

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MOST_LANES = 32  # of any instruction set


def can_interleave(fmt: type[Format], rows: int) -> bool:
    """Whether a matrix of `rows` rows is made of whole tiles on every CPU, in a format that gains by it."""
    return fmt.short_units is not None and rows % MOST_LANES == 0


def units(fmt: type[Format]) -> list[tuple[int, int]]:
    """Offset and size of every unit of a block, in order."""
    out, at = [], 0
    while at < fmt.nbytes:
        size = (fmt.short_units or {}).get(at, 4)
        out.append((at, size))
        at += size
    return out


def interleave_reference(fmt: type[Format], blocks: NDArray[np.uint8], lanes: int) -> NDArray[np.uint8]:
    """Rows of blocks (rows, row_bytes) uint8 -> tiles (rows / lanes, lanes * row_bytes) uint8."""
    import numpy as np

    rows, row_bytes = blocks.shape
    blocks = fmt.rearrange_blocks(blocks.reshape(-1, fmt.nbytes))
    tiles = blocks.reshape(rows // lanes, lanes, row_bytes // fmt.nbytes, fmt.nbytes).transpose(0, 2, 1, 3)
    parts = [tiles[..., at : at + size].reshape(*tiles.shape[:2], -1) for at, size in units(fmt)]
    return np.concatenate(parts, axis=2).reshape(rows // lanes, -1)


def interleave(fmt: type[Format]) -> Kernel:
    """The kernel that copies `rows` rows of `row_bytes` bytes from `source` into tiles at `target`, a tile a draw."""
    return Kernel(f"interleave_{fmt.name}", ("source", "target", "rows", "row_bytes"), lambda v: _build(v, fmt))


def _build(v: InstructionSet, fmt: type[Format]) -> Any:
    v = set_for_tiles(v)
    lanes, nbytes, own = v.LANES, fmt.nbytes, fmt.kernels(v).tile
    numbers = {1: v.Vec("i8", lanes), 2: v.Vec("i16", lanes), 4: v.i32}

    def copy_of(at: int, size: int) -> Any:
        if size == 16:

            def copy_four(source, row_bytes, target):
                quads = v.load_rows(v.i32, source + at, row_bytes)
                for j in range(4):
                    v.store(target + lanes * (at + 4 * j), quads[j])

            return v.jitable(copy_four)
        kind = numbers[size]

        def copy(source, row_bytes, target):
            v.store(target + lanes * at, v.load_column(kind, source + at, row_bytes))

        return v.jitable(copy)

    def block_copy() -> Any:
        every = [copy_of(at, size) for at, size in _by_sixteen(units(fmt))]

        def both(first: Any, second: Any) -> Any:
            def run(source, row_bytes, target):
                first(source, row_bytes, target)
                second(source, row_bytes, target)

            return v.jitable(run)

        while len(every) > 1:
            every = [both(*every[i : i + 2]) if i + 1 < len(every) else every[i] for i in range(0, len(every), 2)]
        return every[0]

    copy_block = v.jitable(own.rearrange) if own.rearrange else block_copy()

    def run(counter, ith, nth, source, target, rows, row_bytes):
        tile = v.take_work(counter, 1)
        while tile < rows // lanes:
            at = lanes * row_bytes * tile
            for b in range(row_bytes // nbytes):
                copy_block(source + at + b * nbytes, row_bytes, target + at + lanes * nbytes * b)
            tile = v.take_work(counter, 1)

    return run


def _by_sixteen(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Units with every four of 4 bytes that follow each other made one of 16."""
    out: list[tuple[int, int]] = []
    for at, size in pieces:
        out.append((at, size))
        if [size for _, size in out[-4:]] == [4] * 4:
            out[-4:] = [(out[-4][0], 16)]
    return out


def tile_intrinsics(v: InstructionSet) -> Any:
    """The intrinsics of `v`, but those that load a column of a tile's rows find it at LANES times their address.

    An address within a tile is divided by LANES before it is given to a format's `unpack`; the stride has no meaning.
    """
    lanes = v.LANES
    four = v.unroll_map(4, lambda j, kind, at: v.load(kind, at + 4 * lanes * j))
    tiles: Any = ModuleType("tile_intrinsics")  # Numba resolves attributes of modules while it compiles
    vars(tiles).update(vars(v))
    tiles.load_column = v.jitable(lambda kind, p, stride: v.load(kind, p * lanes))
    tiles.load_rows = v.jitable(lambda kind, p, stride: four(kind, p * lanes))
    tiles.load_f16_column = v.jitable(lambda kind, p, stride: v.to_f32(kind, v.load(v.f16, p * lanes)))
    return tiles


def unpack_of(v: InstructionSet, fmt: type[Format]) -> Any:
    """`(block, tile)`: one block of an interleaved tile at address `block` into `tile`, as `IntegerParts.unpack`."""
    parts: IntegerParts = fmt.kernels(tile_intrinsics(v))
    assert parts.tile is not None, "only formats with TileParts are interleaved"
    lanes, size, unit = v.LANES, parts.tile_bytes(v.LANES), parts.tile.unit
    times = fmt.block // BLOCK // unit
    weights, scales = v.jitable(parts.tile.weights), v.jitable(parts.tile.scales)
    store = v.unroll_map(8, lambda j, tile, found: v.store(tile + 4 * lanes * j, found[j]))

    def group(i, tile, p, n):
        store(tile + size * i, weights(p, 0, n, i))
        return tile

    groups = v.unroll_fold(unit, group)

    def run(block, tile):
        p = block // lanes
        scales(p, 0, tile)
        for n in range(times):
            groups(tile + size * unit * n, p, n)

    return v.jitable(run)
