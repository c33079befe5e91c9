"""The kernels that quantize: blocks of float32 to a format's bytes, drawn by any number of threads. Knows no format.

Who encodes a block does not change it. Units are whole vectors of groups, so the last one may reach beyond the blocks:
buffers have SLACK values, and bytes of as many, to spare.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..blocks.parts import Encoders, FloatParts
from ..format import Format
from ..jit.kernel import Kernel
from ..scale_search import affine, search, symmetric
from ..scale_search.affine import Affine
from ..scale_search.search import LEVELS, Shape

FIELDS = ("values", "out", "blocks", "importance", "k", "peaks", "scratch")
SCRATCH_BYTES = search.SCRATCH_BYTES
SLACK = search.MOST_VALUES
PEAK_STRIDE = 64  # each thread's own cache line
DRAW = 1 << 14  # values of a draw, about
FINITE = 0x7F800000  # the bits of every finite magnitude are below


def encode(fmt: type[Format], *, important: bool = False, longer: bool = False) -> Kernel:
    """The kernel out (blocks, nbytes) = values (blocks, block) float32 in `fmt`.

    `importance`: address of k float32, repeated until they are k + SLACK, or 0; it must not be 0 where `important`.
    `peaks`: for each thread an int64, PEAK_STRIDE bytes apart, that rises to the bits of the greatest magnitude seen.
    `scratch`: SCRATCH_BYTES for each thread. `longer` searches for less error. Raises ValueError where the format has
    no such kernel.
    """
    if not can_encode(fmt):
        raise ValueError(f"no kernel quantizes to {fmt.name}")
    name = f"encode_{fmt.name}{'_important' * important}{'_longer' * longer}"
    return Kernel(name, FIELDS, lambda v: _build(v, fmt, important, longer))


def can_encode(fmt: type[Format]) -> bool:
    """Whether `encode` has a kernel for the format."""
    return vars(fmt).get("encoders") is not None or (fmt.block == 1 and fmt.activations == "f32")


def _build(v: ModuleType, fmt: type[Format], important: bool, longer: bool) -> Any:
    parts: Encoders = fmt.encoders(v) or Encoders(direct=_floats(v, fmt))
    if parts.search is not None and (important or longer or parts.direct is None):
        wanted = parts.search.longer() if longer else parts.search
        values, unit = _searched(v, fmt, wanted, parts.pack)
    else:
        values, unit = (8 if fmt.block == 1 else fmt.block), _directly(v, parts.direct)
    draw = max(1, DRAW // values)
    block, bytes_of_unit = fmt.block, values // fmt.block * fmt.nbytes

    def run(counter, ith, nth, values_at, out, blocks, importance, k, peaks, scratch):
        units, mine, peak = (blocks * block + values - 1) // values, scratch + SCRATCH_BYTES * ith, 0
        first = v.draw(counter, draw)
        while first < units:
            for i in range(first, min(units, first + draw)):
                column = importance + 4 * (values * i % k) if importance != 0 else 0
                peak = max(peak, unit(values_at + 4 * values * i, out + bytes_of_unit * i, column, mine))
            first = v.draw(counter, draw)
        slot = peaks + PEAK_STRIDE * ith
        v.store(slot, max(peak, v.load_i64(slot)))

    return run


def _directly(v: ModuleType, direct: Any) -> Any:
    step = v.jitable(direct)
    return v.jitable(lambda x, out, importance, scratch: step(x, out))


def _floats(v: ModuleType, fmt: type[Format]) -> Any:
    """Eight values at a time in a format of single numbers."""
    parts: FloatParts = fmt.kernels(v)
    pack = v.jitable(parts.pack)

    def direct(x, out):
        eight = v.load(v.f32x8, x)
        v.store(out, pack(eight))
        return v.int64(v.greatest(v.bitcast(v.i32x8, eight) & 0x7FFFFFFF))

    return direct


def _searched(v: ModuleType, fmt: type[Format], wanted: Any, pack: Any) -> tuple[int, Any]:
    """Values of a unit, and `(x, out, importance, scratch)`: encode one unit."""
    family = affine if isinstance(wanted, Affine) else symmetric
    shape = Shape(wanted.group, wanted.groups, v.LANES)
    load, weigh = search.load_unit(v, shape), search.weigh(v, shape, family.plain_weight(v, wanted), wanted.floor)
    find, levels = family.find(v, shape, wanted), _levels(v, shape, wanted)
    put, blocks, block, groups, nbytes = v.jitable(pack), shape.blocks, fmt.block, wanted.groups, fmt.nbytes

    def unit(x, out, importance, scratch):
        bits = load(x, scratch)
        weigh(scratch, importance)
        find(scratch)
        levels(scratch)
        for b in range(blocks):
            put(out + nbytes * b, scratch + LEVELS + block * b, scratch, groups * b)
        return bits

    return shape.values, v.jitable(unit)


def _levels(v: ModuleType, shape: Shape, wanted: Any) -> Any:
    """`(scratch)`: the numbers of the levels of all values, in their order, to LEVELS."""
    wide, i32, i8 = v.Vec("f32", 16), v.Vec("i32", 16), v.Vec("i8", 16)
    total, group = shape.blocks * shape.groups, shape.group
    if isinstance(wanted, Affine):
        top = wanted.top

        @v.jitable
        def number(x, scratch, at):
            offset, inverse = (
                v.load_splat(wide, scratch + search.OFFSET + at),
                v.load_splat(wide, scratch + search.INVERSE + at),
            )
            q = v.round_even((x + offset) * inverse)
            return v.minimum(v.maximum(q, v.zero(wide)), v.splat(wide, top))
    else:
        nearest = symmetric.number(v, wide, wanted)

        @v.jitable
        def number(x, scratch, at):
            return nearest(x * v.load_splat(wide, scratch + search.INVERSE + at))

    def fill(scratch):
        for g in range(total):
            for j in range(group // 16):
                at = group * g + 16 * j
                q = number(v.load(wide, scratch + search.NATURAL + 4 * at), scratch, 4 * g)
                v.store(scratch + LEVELS + at, v.truncate(i8, v.to_i32(i32, q)))

    return v.jitable(fill)
