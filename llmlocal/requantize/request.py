"""What a user asks for in words -- types, sizes, patterns -- as recipes and numbers. Opens no model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import regex

from ..errors import BadFileError, UsageError
from ..imatrix.file import read_imatrix
from ..quant.quantizer import format_named
from ..quant.recipes import ALIASES, MIXES, Recipe
from ..text import shown
from .plan import Plan
from .source import Model
from .write import Importance

PATIENCE = 0.1  # seconds that a user's pattern may take for one name
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_STEM = re.compile(r"(?i)(.*?)[-._](?:f32|f16|bf16|i?q[0-9][0-9a-z_]*|mxfp4(?:_moe)?)")


def mix_named(name: str) -> str | None:
    """The mix of this name, in any case; None where there is none."""
    upper = ALIASES.get(name.upper(), name.upper())
    return upper if upper in MIXES else None


def checked_mix(name: str) -> str:
    """As `mix_named`. Raises UsageError."""
    mix = mix_named(name)
    if mix is None:
        raise UsageError(f"{shown(name)} is no type", f"types are {' '.join(MIXES)}")
    return mix


def make_recipe(
    mix: str, tensor_types: Sequence[str], output: str | None, embeddings: str | None, *, pure: bool, important: bool
) -> Recipe:
    """Raises UsageError for a type or a pattern that is none."""
    overrides = [_override(text) for text in tensor_types]
    return Recipe(mix, overrides, _format(output), _format(embeddings), pure, important)


def size_in_bytes(text: str) -> int:
    """4G, 700M, 1.5g (powers of 1024) or plain bytes. Raises UsageError."""
    match = re.fullmatch(r"(?i)([0-9]{1,15}(?:\.[0-9]{1,3})?)([kmgt]?)(?:i?b)?", text)
    if not match or float(match[1]) <= 0:
        raise UsageError(f"{shown(text)} is no size", "a number and K, M, G or T, as in 4G")
    return int(float(match[1]) * UNITS[match[2].lower()])


def beside(source: Path, mix: str) -> Path:
    """The name that a quantized model gets next to its source: model-F16.gguf becomes model-Q4_K_M.gguf."""
    whole = source.resolve()
    stem = whole.name if whole.is_dir() else re.sub(r"-\d{5}-of-\d{5}$", "", whole.name.removesuffix(".gguf"))
    match = _STEM.fullmatch(stem)
    return whole.with_name(f"{match[1] if match else stem}-{mix}.gguf")


def importance_for(model: Model, plan: Plan, path: Path) -> tuple[Importance, list[str]]:
    """The importance of the columns of each tensor that is to be quantized, and what to know about it.

    Raises BadFileError for a matrix of another model, and what `read_imatrix` raises.
    """
    found = read_imatrix(path)
    formats = {tensor.name: tensor.format for tensor in model.tensors}
    used, missing = {}, []
    for info in plan.infos:
        if info.format.block == 1 or formats[info.name] is info.format:
            continue
        values = found.get(info.name)
        if values is None:
            missing.append(info.name)
        elif values.size != info.shape[-1] * (info.shape[-3] if len(info.shape) > 2 else 1):
            if info.name != "token_embd.weight":
                raise BadFileError(f"{path}: {values.size} numbers for {shown(info.name)} of shape {info.shape}")
        else:
            used[info.name] = values if len(info.shape) > 2 else values[0]
    notes = [f"no importance for {len(missing)} tensors: {missing[0]}, ..."] if missing else []
    return used, notes


def _format(name: str | None) -> str:
    if name is None:
        return ""
    found = format_named(name)
    if found is None:
        raise UsageError(f"{shown(name)} is no type of a tensor", "as Q8_0, Q6_K, F16")
    return found.name


def _override(text: str) -> tuple[Callable[[str], bool], str]:
    pattern, _, kind = text.rpartition("=")
    if not pattern:
        raise UsageError(f"--tensor-type {shown(text)} is not PATTERN=TYPE", "--tensor-type ffn_down=Q6_K")
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise UsageError(f"--tensor-type: {shown(pattern)} is no pattern: {error}") from None

    def fits(name: str) -> bool:
        try:
            return compiled.search(name, timeout=PATIENCE) is not None
        except TimeoutError:
            raise UsageError(f"--tensor-type: {shown(pattern)} takes too long on {shown(name)}") from None

    return fits, _format(kind)
