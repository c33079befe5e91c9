"""Types, sizes and patterns as users write them, parsed into recipes and numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import regex

from ..errors import BadFileError, UsageError
from ..imatrix.file import read_imatrix
from ..quant.quantizer import format_named
from ..quant.recipes import ALIASES, MIXES, Recipe
from ..text import escaped, shown
from .plan import GGUFPlan
from .source import TensorSource
from .write import Importance

TIMEOUT = 0.1  # seconds that a user's pattern may take for one name
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TYPE_SUFFIX = re.compile(r"(?i)(.*?)[-._](?:f32|f16|bf16|i?q[0-9][0-9a-z_]*|mxfp4(?:_moe)?)")


def mix_named(name: str) -> str | None:
    """The mix of this name (in any case) or alias, else None."""
    upper = ALIASES.get(name.upper(), name.upper())
    return upper if upper in MIXES else None


def checked_mix(name: str) -> str:
    """As `mix_named`; raises UsageError for an unknown name."""
    mix = mix_named(name)
    if mix is None:
        raise UsageError(f"{shown(name)} is not a type", f"types: {' '.join(MIXES)}")
    return mix


def make_recipe(
    mix: str, tensor_types: Sequence[str], output: str | None, embeddings: str | None, *, pure: bool, has_imatrix: bool
) -> Recipe:
    """The recipe of these options. Raises UsageError for an unknown type or a bad pattern."""
    overrides = [_override(text) for text in tensor_types]
    return Recipe(mix, overrides, _format(output), _format(embeddings), pure, has_imatrix)


def size_in_bytes(text: str) -> int:
    """4G, 700M, 1.5g (powers of 1024) or plain bytes. Raises UsageError."""
    match = re.fullmatch(r"(?i)([0-9]{1,15}(?:\.[0-9]{1,3})?)([kmgt]?)(?:i?b)?", text)
    if not match or float(match[1]) <= 0:
        raise UsageError(f"{shown(text)} is not a size", "give a number with K, M, G or T, as 4G")
    return int(float(match[1]) * UNITS[match[2].lower()])


def beside(source: Path, mix: str) -> Path:
    """The default OUT, in the folder of the source: model-F16.gguf becomes model-Q4_K_M.gguf."""
    whole = source.resolve()
    stem = whole.name if whole.is_dir() else re.sub(r"-\d{5}-of-\d{5}$", "", whole.name.removesuffix(".gguf"))
    match = _TYPE_SUFFIX.fullmatch(stem)
    return whole.with_name(f"{match[1] if match else stem}-{mix}.gguf")


def importance_for(source: TensorSource, plan: GGUFPlan, path: Path) -> tuple[Importance, list[str]]:
    """The importance of the columns of each tensor that will be quantized, and notes for the user.

    Raises BadFileError for an importance matrix of another model, and what `read_imatrix` raises.
    """
    found = read_imatrix(path)
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
            used[info.name] = values if len(info.shape) > 2 else values[0]
    notes = [f"the importance matrix has no values for {len(missing)} tensors: {missing[0]}, ..."] if missing else []
    return used, notes


def _format(name: str | None) -> str:
    if name is None:
        return ""
    found = format_named(name)
    if found is None:
        raise UsageError(f"{shown(name)} is not a type of a tensor", "types are Q8_0, Q6_K, F16, ...")
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
