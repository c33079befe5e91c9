"""Asks the system to read the matrices of chosen experts from the file, all at once and before the first is used.

For mixtures larger than memory. Products alone would ask for one page after another, each when it is missing: the disk
then has little to do at a time, and reads neighbours that nobody chose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.kernels.matmul_grouped import GROUP
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STACK = 16  # bytes of a stack: int64 address of the addresses of its matrices, and bytes of each


def prefetch_experts_reference(
    groups: NDArray[np.int64], stacks: list[tuple[NDArray[np.int64], int]], page: int, most: int
) -> list[tuple[int, int]]:
    """Groups (count, 3) and (addresses, bytes) of each stack -> (start, bytes) of all ranges, at most `most` bytes.

    The order is that in which products read them: all groups of a stack, then those of the next. There are none where
    over half of the experts are chosen.
    """
    ranges: list[tuple[int, int]] = []
    for at, (addresses, nbytes) in enumerate(stacks):
        if 2 * len(groups) > len(addresses):
            break
        for i, (expert, _, _) in enumerate(groups):
            if (at * len(groups) + i + 1) * nbytes <= most:
                start = int(addresses[expert]) // page * page
                ranges.append((start, int(addresses[expert]) + nbytes - start))
    return ranges


@kernel("groups stacks experts advise advice page most")
def prefetch_experts(v: InstructionSet) -> Any:
    """Advise the system of the matrices of all `groups` (see `matmul_grouped`) in `stacks`: int64 count, then each.

    `advise(start, bytes, advice)` is the address of madvise, which takes three integers as kernels do. Ranges begin at
    a multiple of `page` bytes; there are as many as have `most` bytes together.
    """

    def run(counter, ith, nth, groups, stacks, experts, advise, advice, page, most):
        count = v.load_i64(groups)
        if 2 * count > experts:  # the system reads ahead what is chosen, too, and in larger pages
            return
        item = v.take_work(counter, 1)
        while item < count * v.load_i64(stacks):
            stack, group = stacks + 8 + STACK * (item // count), groups + 8 + GROUP * (item % count)
            nbytes = v.load_i64(stack + 8)
            if (item + 1) * nbytes <= most:
                address = v.load_i64(v.load_i64(stack) + 8 * v.load_i64(group))
                start = address // page * page
                v.call_kernel(advise, start, address + nbytes - start, advice)
            item = v.take_work(counter, 1)

    return run
