"""Types, sizes and patterns as users write them, parsed into recipes and numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import regex

from ..errors import BadFileError, UsageError
from ..gguf import file_types
from ..gguf.values import ValueType
from ..gguf.writer import TensorInfo
from ..hub import places
from ..imatrix.file import UNKNOWN_TEXT, Imatrix, load_imatrix
from ..quant.format import BY_NAME
from ..quant.formats import load_all
from ..quant.quantizer import format_named
from ..quant.recipes import ALIASES, MIXES, Recipe, TensorSpec, is_quantized
from ..text import escaped, shown
from .plan import GGUFPlan
from .source import TensorSource
from .write import Importance

MAX_KEPT = 127  # bytes of a file's name in the keys of the importance matrix, as in llama-quantize
TIMEOUT = 0.1  # seconds that a user's pattern may take for one name
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TYPE_SUFFIX = re.compile(r"(?i)(.*?)[-._](?:f32|f16|bf16|i?q[0-9][0-9a-z_]*|mxfp4(?:_moe)?)")


def mix_named(name: str) -> str | None:
    """The mix of this name (in any case) or alias, else None."""
    upper = ALIASES.get(name.upper(), name.upper())
    return upper if upper in MIXES else None


def checked_mix(name: str, hint: str = "") -> str:
    """As `mix_named`; raises UsageError for an unknown name, with `hint` or all types."""
    mix = mix_named(name)
    if mix is None:
        what = "files can be run, but not made" if _can_run(name) else "is not a type"
        raise UsageError(f"{shown(name)} {what}", hint or f"types: {' '.join(MIXES)}")
    return mix


def _can_run(name: str) -> bool:
    """Whether files of a type of llama.cpp can be run: the formats of its matrices are known."""
    load_all()
    family = name.upper().rpartition("_")[0]
    runs = [format.name for format in BY_NAME.values() if format.activations is not None]
    return name.upper() in file_types.NUMBERS and any(r == name.upper() or r.startswith(f"{family}_") for r in runs)


def make_recipe(
    mix: str, tensor_types: Sequence[str], output: str | None, embeddings: str | None, *, pure: bool, has_imatrix: bool
) -> Recipe:
    """The recipe of these options. Raises UsageError for an unknown type or a bad pattern."""
    overrides = [_override(text) for text in tensor_types]
    return Recipe(mix, overrides, _format(output), _format(embeddings), pure, has_imatrix)


def check_overrides(recipe: Recipe, texts: Sequence[str], tensors: Sequence[TensorSpec]) -> None:
    """Raises UsageError where one of `texts`, the patterns of --tensor-type, changes nothing, or COPY is to change."""
    if recipe.mix == "COPY" and (texts or recipe.output or recipe.embeddings or recipe.pure):
        raise UsageError(
            "COPY keeps the type of every tensor", "leave out --tensor-type and the other options of types"
        )
    names = [t.name for t in tensors if is_quantized(t) and recipe.own_option(t.name) is None]
    deciding = {next((i for i, (fits, _) in enumerate(recipe.overrides) if fits(name)), None) for name in names}
    for i, text in enumerate(texts):
        if i not in deciding:
            taken = any(recipe.overrides[i][0](name) for name in names)
            why = "matches only tensors of an earlier --tensor-type" if taken else "matches no tensor to quantize"
            raise UsageError(f"--tensor-type {shown(text)} {why}", "llmlocal show SRC --tensors lists the names")


def size_in_bytes(text: str) -> int:
    """4G, 700M, 1.5g (powers of 1024) or plain bytes. Raises UsageError."""
    match = re.fullmatch(r"(?i)([0-9]{1,15}(?:\.[0-9]{1,3})?)([kmgt]?)(?:i?b)?", text)
    if not match or float(match[1]) <= 0:
        raise UsageError(f"{shown(text)} is not a size", "give a number with K, M, G or T, as 4G")
    return int(float(match[1]) * UNITS[match[2].lower()])


def beside(source: Path, mix: str) -> Path:
    """The default OUT, in the folder of the source: model-F16.gguf becomes model-Q4_K_M.gguf.

    Of a model in the store it is in the current folder: what lies in the store belongs to the hub's repositories.
    """
    whole = source.resolve() if source.is_dir() else source
    if source.absolute().is_relative_to(places.models().absolute()):
        whole = Path(source.name)
    stem = whole.name if whole.is_dir() else re.sub(r"-\d{5}-of-\d{5}$", "", whole.name.removesuffix(".gguf"))
    match = _TYPE_SUFFIX.fullmatch(stem)
    return whole.with_name(f"{match[1] if match else stem}-{mix}.gguf")


def importance_for(source: TensorSource, plan: GGUFPlan, path: Path) -> tuple[Importance, list[str]]:
    """The importance of the columns of each tensor that will be quantized, and notes for the user.

    The plan's metadata gains the keys by which llama-quantize names the matrix. Raises BadFileError for an importance
    matrix of another model, and what `load_imatrix` raises.
    """
    matrix = load_imatrix(path)
    plan.metadata.update(_imatrix_keys(matrix, path))
    found = {name: matrix.means(name) for name in matrix.sums}
    formats = {tensor.name: tensor.format for tensor in source.tensors}
    used, missing = {}, []
    for info in plan.tensors:
        if info.format.block == 1 or formats[info.name] is info.format:
            continue
        values = found.get(info.name)
        if values is None:
            missing.append(info.name)
        elif values.size != info.shape[-1] * (info.shape[-3] if len(info.shape) > 2 else 1):
            if info.name != "token_embd.weight":
                raise BadFileError(
                    f"{escaped(str(path))}: has {values.size} values for {shown(info.name)} of shape {info.shape}",
                    "it belongs to another model",
                )
        else:
            used[info.name] = values.reshape(-1, info.shape[-1]) if len(info.shape) > 2 else values[0]
    notes = (
        [f"tensors without values in the importance matrix: {len(missing)}, such as {missing[0]}"] if missing else []
    )
    return used, notes


def require_importance(source: TensorSource, plan: GGUFPlan, recipe: Recipe, importance: Importance) -> None:
    """Raises UsageError where a tensor's type needs an importance matrix, and there are no values for it."""
    missing = [info for info in in_need(source, plan, recipe) if info.name not in importance]
    if not missing:
        return
    first = missing[0]
    if importance:
        what = f"{shown(first.name)} as {first.format.name} needs values in the importance matrix, which has none"
        raise UsageError(what, f"--tensor-type {first.name}=Q4_K gives it a type that needs none")
    others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    raise UsageError(
        f"{plan.type_name} needs an importance matrix, for {shown(first.name)} as {first.format.name}{others}",
        "add --imatrix FILE; to make one: llmlocal imatrix MODEL TEXT_FILE",
    )


def in_need(source: TensorSource, plan: GGUFPlan, recipe: Recipe) -> list[TensorInfo]:
    """The tensors of a plan that are not quantized without an importance matrix."""
    formats = {tensor.name: tensor.format for tensor in source.tensors}
    changed = [info for info in plan.tensors if formats[info.name] is not info.format]
    return [info for info in changed if recipe.needs_importance(info.name, info.format)]


def _imatrix_keys(matrix: Imatrix, path: Path) -> dict[str, tuple[ValueType, Any]]:
    """The keys `quantize.imatrix.*` as llama-quantize writes them."""
    keys: dict[str, tuple[ValueType, Any]] = {"quantize.imatrix.file": (ValueType.STRING, _kept(str(path)))}
    if matrix.texts and matrix.texts[0].name != UNKNOWN_TEXT:
        keys["quantize.imatrix.dataset"] = (ValueType.STRING, _kept(matrix.texts[0].name))
    keys["quantize.imatrix.entries_count"] = (ValueType.U32, len(matrix.sums))
    if matrix.chunks:
        keys["quantize.imatrix.chunks_count"] = (ValueType.U32, matrix.chunks)
    return keys


def _kept(text: str) -> bytes:
    """As much of a text as llama-quantize keeps, in whole characters."""
    data = text.encode("utf-8", "replace")[:MAX_KEPT]
    return data.decode("utf-8", "ignore").encode("utf-8")


def _format(name: str | None) -> str:
    if name is None:
        return ""
    found = format_named(name)
    if found is None:
        runs = name.upper() in BY_NAME and BY_NAME[name.upper()].activations is not None
        what = "tensors can be run, but not made" if runs else "is not a type of a tensor"
        raise UsageError(f"{shown(name)} {what}", "types are Q8_0, Q6_K, F16, ...")
    return found.name


def _override(text: str) -> tuple[Callable[[str], bool], str]:
    pattern, _, kind = text.rpartition("=")
    if not pattern:
        raise UsageError(f"--tensor-type {shown(text)} is not PATTERN=TYPE", "--tensor-type ffn_down=Q6_K")
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise UsageError(f"--tensor-type: {shown(pattern)} is not a regular expression: {error}") from None

    def fits(name: str) -> bool:
        try:
            return compiled.search(name, timeout=TIMEOUT) is not None
        except TimeoutError:
            raise UsageError(f"--tensor-type: {shown(pattern)} takes too long on {shown(name)}") from None

    return fits, _format(kind)
