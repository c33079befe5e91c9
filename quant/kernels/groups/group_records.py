"""What is multiplied with one scale for 256 columns from GROUP_TOKENS tokens on, and the records of its activations.

Imports no Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...blocks.parts import IntegerParts, float_activations
from ...format import Format
from ...jit.kernel import Kernel
from ...simd.instruction_set import InstructionSet
from ..interleave import MOST_LANES
from ..panels import GROUP
from ..q8_activations import q8_bytes, q8_quantizer
from .gemm_groups import GroupProducts
from .group_bytes import byte_products
from .group_winograd import winograd_products
from .q8k_activations import q8k_bytes, q8k_quantizer
from .winograd_activations import winograd_bytes, winograd_quantizer

GROUP_TOKENS = 16  # fewer do not pay for the weights that are prepared


class GroupRecords(NamedTuple):
    """Records of activations, and the products that read them.

    `nbytes(k)` takes a record; `quantizer(v)` is `(row, record, k)`; `products(v, parts)` is for tiles of weights.
    """

    name: str
    nbytes: Callable[[int], int]
    quantizer: Callable[[InstructionSet], Any]
    products: Callable[[InstructionSet, IntegerParts], GroupProducts]


WINOGRAD = GroupRecords("winograd", winograd_bytes, winograd_quantizer, winograd_products)
Q8K = GroupRecords("q8k", q8k_bytes, q8k_quantizer, byte_products)


def group_records(fmt: type[Format], rows: int, isa: str) -> GroupRecords | None:
    """What many tokens are multiplied from, for a matrix of `rows` rows on an instruction set; None for Q8 records.

    Signed bytes take four instructions for 32 products, weights of six bits in blocks of a group two and a half; fewer
    bits gain less.
    """
    if isa != "avx2" or rows % MOST_LANES or float_activations(fmt):
        return None
    if fmt.nbytes >= fmt.block:
        return WINOGRAD
    return Q8K if fmt.block == GROUP and 4 * fmt.nbytes > 3 * fmt.block else None


def quantize_by_tokens(records: GroupRecords) -> Kernel:
    """The kernel out = x (tokens, k) float32 in Q8 records, or from GROUP_TOKENS tokens on in `records`."""

    def build(v: InstructionSet) -> Any:
        few, many = q8_quantizer(v), records.quantizer(v)
        few_bytes, many_bytes = v.jitable(q8_bytes), v.jitable(records.nbytes)

        def run(counter, ith, nth, tokens, x, out, k):
            count, t = v.load_i64(tokens), v.take_work(counter, 1)
            while t < count:
                if count >= GROUP_TOKENS:
                    many(x + 4 * k * t, out + many_bytes(k) * t, k)
                else:
                    few(x + 4 * k * t, out + few_bytes(k) * t, k)
                t = v.take_work(counter, 1)

        return run

    return Kernel(f"quantize_q8_or_{records.name}", ("tokens", "x", "out", "k"), build, pieces="tokens")
