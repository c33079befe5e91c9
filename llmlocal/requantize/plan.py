"""What a quantization will make: formats, sizes, metadata, found from names and shapes before any number is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..errors import UsageError
from ..gguf import split
from ..gguf.values import ALIGNMENT_KEY, ValueType, padded
from ..gguf.writer import TensorInfo, packed_size
from ..model_info.memory import memory
from ..quant.format import BY_NAME
from ..quant.recipes import MIXES, Recipe
from .source import Model, check_quantized, model_shape

QUANTIZATION_VERSION = 2  # ggml's GGML_QNT_VERSION
CONTEXT = 4096  # tokens, for what a run will take
# From more to fewer bits: what a size is looked for among.
BY_SIZE = (
    *("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "IQ4_NL", "IQ4_XS"),
    *("Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """`infos`: every tensor as it will be, in the order of the file."""

    mix: str
    infos: list[TensorInfo]
    metadata: dict[str, Any]
    notes: list[str]
    important: bool

    @property
    def tensor_bytes(self) -> int:
        return sum(info.nbytes for info in self.infos)

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return packed_size(self.metadata, self.infos)

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.tensor_bytes / max(1, sum(_count(info) for info in self.infos))


class Listed(NamedTuple):
    """A mix for one model: bits per weight, size of the file, and what a run with CONTEXT tokens takes, in bytes."""

    mix: str
    bits_per_weight: float
    nbytes: int
    memory: int


def make_plan(model: Model, recipe: Recipe, *, allow_requantize: bool = False) -> Plan:
    """The plan of a recipe. Raises BadFileError for a tensor that is quantized already, unless that is allowed."""
    recipe = replace(recipe, notes=[])
    formats = recipe.formats(model_shape(model), model.tensors)
    for tensor in model.tensors:
        check_quantized(tensor, formats[tensor.name], allowed=allow_requantize)
    infos = [TensorInfo(t.name, formats[t.name], t.shape) for t in model.tensors]
    metadata = {k: v for k, v in model.metadata.items() if k not in (split.NUMBER, split.COUNT, split.TENSORS)}
    metadata.pop(ALIGNMENT_KEY, None)
    metadata["general.quantization_version"] = (ValueType.U32, QUANTIZATION_VERSION)
    number = MIXES[recipe.mix].file_type
    if number is not None:
        metadata["general.file_type"] = (ValueType.U32, number)
    return Plan(recipe.mix, infos, metadata, list(_folded(recipe.notes)), recipe.important)


def list_mixes(model: Model, recipe: Recipe) -> list[Listed]:
    """Every mix with what the user changes of it, the largest first."""
    rows = []
    for mix in MIXES:
        if mix != "COPY":
            plan = make_plan(model, replace(recipe, mix=mix), allow_requantize=True)
            took = memory(model.plain, {info.name: info for info in plan.infos}, CONTEXT)
            rows.append(Listed(mix, plan.bits_per_weight, plan.nbytes, took.total))
    return sorted(rows, key=lambda row: -row.nbytes)


def best_that_fits(rows: Sequence[Listed], nbytes: int) -> str:
    """The mix of most bits whose file has at most `nbytes`. Raises UsageError where none is small enough."""
    sizes = {row.mix: row.nbytes for row in rows}
    for mix in BY_SIZE:
        if sizes[mix] <= nbytes:
            return mix
    least = min(sizes[mix] for mix in BY_SIZE)
    raise UsageError(f"no type makes this model smaller than {least} bytes", f"--target-size {least}")


def _folded(notes: list[tuple[str, int, str, str]]) -> Iterator[str]:
    """One line for all tensors of a row's length."""
    for (k, wanted, got), n in Counter(note[1:] for note in notes).items():
        tensors = "1 tensor becomes" if n == 1 else f"{n} tensors become"
        yield f"{tensors} {got}, not {wanted}: rows of {k} are no multiple of {BY_NAME[wanted].block}"


def _count(info: TensorInfo) -> int:
    count = 1
    for n in info.shape:
        count *= n
    return count


def parts_of(plan: Plan, nbytes: int | None) -> list[list[TensorInfo]]:
    """The tensors of each file, at most `nbytes` of them in one but where a single one is larger; one file for None."""
    parts: list[list[TensorInfo]] = [[]]
    size = 0
    for info in plan.infos:
        step = padded(info.nbytes, 32)
        if nbytes is not None and parts[-1] and size + step > nbytes:
            parts.append([])
            size = 0
        parts[-1].append(info)
        size += step
    return parts
