"""Every type that a model can be quantized to, with the size of the file and the memory of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ..errors import UsageError
from ..model_info.memory import memory
from ..quant.recipes import MIXES, TERNARY, Recipe
from .plan import plan_quantization
from .request import in_need
from .source import TensorSource

CONTEXT = 4096  # tokens of the run whose memory is estimated
# From more to fewer bits: what --target-size chooses from.
BY_SIZE = (
    *("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "IQ4_NL", "IQ4_XS"),
    *("Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_XXS", "Q2_K"),
    *("IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"),
)


class TypeSize(NamedTuple):
    """A type for one model; `nbytes` is the size of the file, `memory` the bytes of a run with CONTEXT tokens.

    `needs_imatrix`: it is not made without an importance matrix.
    """

    type_name: str
    bits_per_weight: float
    nbytes: int
    memory: int
    needs_imatrix: bool


def type_sizes(source: TensorSource, recipe: Recipe) -> list[TypeSize]:
    """Every mix, each with the user's changes in `recipe`, the largest first."""
    rows = []
    for mix in MIXES:
        if mix != "COPY":
            own = replace(recipe, mix=mix)
            plan = plan_quantization(source, own, allow_requantize=True)
            run = memory(source.values, {info.name: info for info in plan.tensors}, CONTEXT)
            needs = bool(in_need(source, plan, own))
            rows.append(TypeSize(mix, plan.bits_per_weight, plan.nbytes, run.total, needs))
    return sorted(rows, key=lambda row: -row.nbytes)


def best_that_fits(rows: Sequence[TypeSize], max_bytes: int, *, has_imatrix: bool) -> str:
    """The type of most bits whose file has at most `max_bytes`; types not in BY_SIZE only where none of these fits.

    `rows` as `type_sizes` gives them; types that need an importance matrix count only where there is one, those for
    ternary weights never. Raises UsageError where even the smallest is larger.
    """
    usable = [row for row in rows if row.type_name not in TERNARY and (has_imatrix or not row.needs_imatrix)]
    sizes = {row.type_name: row.nbytes for row in usable}
    for mix in (*BY_SIZE, *sizes):
        if sizes.get(mix, max_bytes + 1) <= max_bytes:
            return mix
    least = min(sizes.values())
    hint = f"--target-size {least}" if has_imatrix else f"--target-size {least}, or smaller types with --imatrix"
    raise UsageError(f"the smallest type of this model takes {least} bytes", hint)
