"""What a GGUF file will hold: the type of every tensor, sizes and metadata, from names and shapes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from ..convert.stored_format import stored_format
from ..errors import BadFileError, UsageError
from ..gguf import file_types
from ..gguf.model_file import check_is_model
from ..gguf.values import Array, ValueType
from ..gguf.writer import TensorInfo, packed_size
from ..quant.format import BY_NAME, Format
from ..quant.formats import load_all
from ..quant.recipes import FLOATS, MIXES, TERNARY, ModelTraits, Recipe, TensorSpec
from ..text import escaped, shown
from .source import TensorSource

QUANTIZATION_VERSION = 2  # ggml's GGML_QNT_VERSION
STORED_TYPES = ("F32", "F16", "BF16", "Q8_0")  # what `convert` writes


@dataclass(frozen=True, slots=True)
class GGUFPlan:
    """`tensors` as they will be, in the order of the file. `too_large_hint`: the way out where numbers overflow."""

    type_name: str
    tensors: list[TensorInfo]
    metadata: dict[str, Any]
    notes: list[str]
    too_large_hint: str

    @property
    def tensor_bytes(self) -> int:
        return sum(info.nbytes for info in self.tensors)

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return packed_size(self.metadata, self.tensors)

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.tensor_bytes / max(1, sum(prod(info.shape) for info in self.tensors))


def plan_quantization(source: TensorSource, recipe: Recipe, *, allow_requantize: bool = False) -> GGUFPlan:
    """The plan of a recipe. Raises BadFileError for a tensor that is quantized already, unless that is allowed."""
    recipe = replace(recipe, notes=[])
    formats = recipe.formats(model_traits(source), source.tensors)
    for tensor in source.tensors:
        _check_not_quantized(tensor, formats[tensor.name], allowed=allow_requantize)
    hint = "--tensor-type can keep it in F32 or BF16"
    notes = list(_summed_up(recipe.notes))
    if recipe.mix in TERNARY:
        notes.append(f"{recipe.mix} is for weights that were trained as -1, 0 and 1; of others little is left")
    return _plan(source, recipe.mix, formats, notes, hint)


def plan_conversion(source: TensorSource, type_name: str) -> GGUFPlan:
    """The plan of matrices in one of STORED_TYPES, in any case.

    "auto" is the type that most numbers of the source have, if that is BF16 or Q8_0, else F16; tensors that the source
    keeps stay as they are. Raises UsageError for another type.
    """
    load_all()
    auto = type_name.lower() == "auto"
    name = _prevailing_type(source) if auto else type_name.upper()
    if name not in STORED_TYPES:
        types = ", ".join(name.lower() for name in STORED_TYPES)
        raise UsageError(f"--type {type_name} is not one of {types}, auto")
    wanted = BY_NAME[name]
    kept = {t.name: t.format for t in source.tensors if auto and t.name in source.kept}
    formats = {t.name: kept.get(t.name) or stored_format(t.name, t.shape, wanted) for t in source.tensors}
    cut = [name for name, format in formats.items() if format.name == "F16" and wanted.name != "F16"]
    notes = (
        [f"tensors that stay f16, as {wanted.block} does not divide their rows: {len(cut)}, such as {cut[0]}"]
        if cut
        else []
    )
    if kept:
        most = Counter(format.name for format in kept.values()).most_common(1)[0][0]
        name = next((mix for mix, base in MIXES.items() if base == most), most)
    return _plan(source, name, formats, notes, "--type bf16 keeps them")


def model_traits(source: TensorSource) -> ModelTraits:
    """What recipes ask of a model. Raises BadFileError where the metadata does not give architecture and layers.

    Raises as `check_is_model`.
    """
    values = source.values
    check_is_model(values, source.path)
    architecture = values.get("general.architecture")

    def first(name: str, default: int = 0) -> int:
        value = values.get(f"{architecture}.{name}", default)
        if isinstance(value, Array | list):
            value = value[0] if len(value) else default
        return value if isinstance(value, int) else default

    layers = first("block_count")
    if not isinstance(architecture, str) or layers < 1:
        where = escaped(str(source.path))
        raise BadFileError(f"{where}: architecture or number of layers is missing", "is it a language model?")
    heads = first("attention.head_count", 1)
    shared = heads // max(1, first("attention.head_count_kv", heads))
    return ModelTraits(architecture, layers, first("expert_count"), shared)


def _plan(
    source: TensorSource, type_name: str, formats: dict[str, type[Format]], notes: list[str], hint: str
) -> GGUFPlan:
    metadata = source.metadata | {"general.quantization_version": (ValueType.U32, QUANTIZATION_VERSION)}
    if type_name in file_types.NUMBERS:
        metadata[file_types.KEY] = (ValueType.U32, file_types.NUMBERS[type_name])
    tensors = [TensorInfo(t.name, formats[t.name], t.shape) for t in source.tensors]
    return GGUFPlan(type_name, tensors, metadata, [*source.notes, *notes], hint)


def _prevailing_type(source: TensorSource) -> str:
    sizes: Counter[str] = Counter()
    for tensor in source.tensors:
        if len(tensor.shape) > 1 and tensor.name not in source.kept:
            sizes[tensor.format.name] += prod(tensor.shape)
    most = max(sizes, key=lambda name: sizes[name], default="F16")
    return most if most in ("BF16", "Q8_0") else "F16"


def _check_not_quantized(tensor: TensorSpec, target: type[Format], *, allowed: bool) -> None:
    """Raises BadFileError for a tensor that has lost bits already, unless that is allowed."""
    if tensor.format is not target and tensor.format.name not in FLOATS:
        if tensor.format.activations is None:
            raise BadFileError(f"tensor {shown(tensor.name)} is {tensor.format.name}, which cannot be quantized")
        if not allowed:
            raise BadFileError(
                f"tensor {shown(tensor.name)} is already {tensor.format.name}; as {target.name} it would lose more",
                "quantize the F16 file, or add --allow-requantize",
            )


def _summed_up(notes: list[tuple[str, int, str, str]]) -> Iterator[str]:
    """One line for all tensors whose rows have the same length."""
    for (k, wanted, got), n in Counter(note[1:] for note in notes).items():
        tensors = "1 tensor becomes" if n == 1 else f"{n} tensors become"
        yield f"{tensors} {got}, not {wanted}: rows of {k} are not divisible by {BY_NAME[wanted].block}"
