"""The kernels that quantize: blocks of float32 to a format's bytes, taken by any number of threads.

The result does not depend on which thread quantizes a block. Units are whole vectors of groups, so the last one may
reach beyond the blocks: buffers have SLACK values, and bytes of as many, to spare.
"""

from __future__ import annotations

from typing import Any

from ..blocks.parts import FloatParts, QuantizeParts
from ..format import Format
from ..jit.kernel import Kernel
from ..scale_search import affine, codebook_lanes, search, symmetric
from ..scale_search.affine import Affine
from ..scale_search.codebook import Codebook
from ..scale_search.search import LEVELS, Shape
from ..scale_search.symmetric import Symmetric
from ..simd.instruction_set import InstructionSet

FIELDS = ("values", "out", "blocks", "importance", "k", "peaks", "scratch")
SCRATCH_BYTES = search.SCRATCH_BYTES
SLACK = search.MOST_VALUES
PEAK_STRIDE = 64  # each thread's own cache line
DRAW = 1 << 14  # values of a draw, about
FINITE = 0x7F800000  # the bits of every finite magnitude are below


def quantize_kernel(fmt: type[Format], *, important: bool = False, more_effort: bool = False) -> Kernel:
    """The kernel out (blocks, nbytes) = values (blocks, block) float32 in `fmt`.

    `importance`: address of k float32, repeated until they are k + SLACK, or 0; it must not be 0 where `important`.
    `peaks`: for each thread an int64, PEAK_STRIDE bytes apart, that rises to the bits of the greatest magnitude seen.
    `scratch`: SCRATCH_BYTES for each thread. `more_effort` searches longer for less error. Raises ValueError
    where the format has no such kernel.
    """
    if not has_quantize_kernel(fmt):
        raise ValueError(f"no kernel quantizes to {fmt.name}")
    name = f"quantize_{fmt.name}{'_important' * important}{'_more_effort' * more_effort}"
    return Kernel(name, FIELDS, lambda v: _build(v, fmt, important, more_effort))


def has_quantize_kernel(fmt: type[Format]) -> bool:
    """Whether there is a kernel for the format."""
    return fmt.offers("quantize_parts") or (fmt.block == 1 and fmt.activations == "f32")


def _build(v: InstructionSet, fmt: type[Format], important: bool, more_effort: bool) -> Any:
    parts: QuantizeParts = fmt.quantize_parts(v) or QuantizeParts(one_pass=_floats(v, fmt))
    if parts.search is not None and (important or more_effort or parts.one_pass is None):
        scale_search = parts.search.with_more_effort() if more_effort else parts.search
        values, unit = _searched(v, fmt, scale_search, parts.pack)
    else:
        values, unit = (8 if fmt.block == 1 else fmt.block), _one_pass(v, parts.one_pass)
    draw = max(1, DRAW // values)
    block, bytes_of_unit = fmt.block, values // fmt.block * fmt.nbytes

    def run(counter, ith, nth, values_at, out, blocks, importance, k, peaks, scratch):
        units, mine, peak = (blocks * block + values - 1) // values, scratch + SCRATCH_BYTES * ith, 0
        first = v.take_work(counter, draw)
        while first < units:
            for i in range(first, min(units, first + draw)):
                column = importance + 4 * (values * i % k) if importance != 0 else 0
                peak = max(peak, unit(values_at + 4 * values * i, out + bytes_of_unit * i, column, mine))
            first = v.take_work(counter, draw)
        slot = peaks + PEAK_STRIDE * ith
        v.store(slot, max(peak, v.load_i64(slot)))

    return run


def _one_pass(v: InstructionSet, one_pass: Any) -> Any:
    step = v.jitable(one_pass)
    return v.jitable(lambda x, out, importance, scratch: step(x, out))


def _floats(v: InstructionSet, fmt: type[Format]) -> Any:
    """Eight values at a time in a format of single numbers."""
    parts: FloatParts = fmt.kernels(v)
    pack = v.jitable(parts.pack)

    def one_pass(x, out):
        eight = v.load(v.f32x8, x)
        v.store(out, pack(eight))
        return v.int64(v.reduce_max(v.bitcast(v.i32x8, eight) & 0x7FFFFFFF))

    return one_pass


def _searched(v: InstructionSet, fmt: type[Format], scale_search: Any, pack: Any) -> tuple[int, Any]:
    """Values of a unit, and `(x, out, importance, scratch)`: quantize one unit."""
    family = _family(scale_search)
    shape = Shape(scale_search.group, scale_search.groups, v.LANES)
    load, weigh = (
        search.load_unit(v, shape),
        search.weigh(v, shape, family.plain_weight(v, scale_search), scale_search.floor),
    )
    find, levels = family.find(v, shape, scale_search), _levels(v, shape, scale_search)
    put, blocks, block, groups, nbytes = v.jitable(pack), shape.blocks, fmt.block, scale_search.groups, fmt.nbytes

    def unit(x, out, importance, scratch):
        bits = load(x, scratch)
        weigh(scratch, importance)
        find(scratch)
        levels(scratch)
        for b in range(blocks):
            put(out + nbytes * b, scratch + LEVELS + block * b, scratch, groups * b)
        return bits

    return shape.values, v.jitable(unit)


def _family(scale_search: Affine | Codebook | Symmetric) -> Any:
    """The module of a search."""
    if isinstance(scale_search, Affine):
        return affine
    return codebook_lanes if isinstance(scale_search, Codebook) else symmetric


def _levels(v: InstructionSet, shape: Shape, scale_search: Any) -> Any:
    """`(scratch)`: the numbers of the levels of all values, in their order, to LEVELS; or indices of vectors."""
    if isinstance(scale_search, Codebook):
        return codebook_lanes.levels(v, shape, scale_search)
    wide, i32, i8 = v.Vec("f32", 16), v.Vec("i32", 16), v.Vec("i8", 16)
    total, group = shape.blocks * shape.groups, shape.group
    if isinstance(scale_search, Affine):
        max_level = scale_search.max_level

        @v.jitable
        def number(x, scratch, at):
            offset, inverse = (
                v.load_splat(wide, scratch + search.OFFSET + at),
                v.load_splat(wide, scratch + search.INVERSE + at),
            )
            q = v.round_even((x + offset) * inverse)
            return v.minimum(v.maximum(q, v.zero(wide)), v.splat(wide, max_level))
    else:
        nearest = symmetric.number(v, wide, scale_search)

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
