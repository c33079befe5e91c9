"""From a Hugging Face folder to a GGUF file, some rows of one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError, UsageError
from ..files.atomic_file import check_absent
from ..gguf.writer import GGUFWriter, TensorInfo
from ..quant.format import BY_NAME, Format
from ..quant.formats import load_all
from ..text import escaped, shown
from .model import Model, ModelTensor

CHUNK = 1 << 20  # values read at once
TOO_LARGE = 65520.0  # rounds to infinity as a half float
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "BF16": 32}  # GGUF's `general.file_type`
# Small tensors that decide much, and tables that are added to activations, stay F32 (as in llama.cpp).
PRECISE = ("ffn_gate_inp", "ffn_gate_inp_shexp", "position_embd", "token_types", "ssm_conv1d", "shortconv.conv")
Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True)
class Written:
    """What a conversion made: sizes in bytes of the file and of its tensors by format, and what to know about it."""

    path: Path
    architecture: str
    tensors: int
    nbytes: int
    by_format: dict[str, int]
    notes: tuple[str, ...]


def check_output(out: Path, source: Path, *, force: bool) -> None:
    """Raises UsageError where `out` is there and not to be written over, or is one of the files that are read."""
    if out.exists() and source.exists() and out.samefile(source):
        raise UsageError(f"{escaped(str(out))} is SRC", "write to another file")
    if not force:
        check_absent(out)
    elif out.is_dir():
        raise UsageError(f"{escaped(str(out))} is a folder", "name a file")
    if out.exists() and out.suffix != ".gguf" and out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{escaped(str(out))} is a file of SRC", "write to another file")


def format_of(tensor: ModelTensor, wanted: type[Format]) -> type[Format]:
    """The format of a tensor in a file whose matrices are `wanted`; F16 where a row is no multiple of its block."""
    stem, _, last = tensor.name.rpartition(".")
    if len(tensor.shape) == 1 or last != "weight" or stem.endswith(("_norm", *PRECISE)):
        return BY_NAME["F32"]
    return wanted if tensor.shape[-1] % wanted.block == 0 else BY_NAME["F16"]


def write_model(model: Model, path: Path, type_name: str, progress: Progress = lambda *_: None) -> Written:
    """Write `model` with matrices of type F32, F16, BF16 or Q8_0. The file appears whole or not at all.

    `type_name` "auto" is what most of the source is stored in, if that is BF16 or Q8_0, else F16. Raises UsageError
    for another type, BadFileError for numbers that cannot be kept, and what `GGUFWriter` raises.
    """
    load_all()
    name = _chosen(model, type_name.upper())
    if name not in FILE_TYPES:
        raise UsageError(f"--type {type_name} is not one of {', '.join(t.lower() for t in FILE_TYPES)}, auto")
    wanted = BY_NAME[name]
    infos = [TensorInfo(t.name, format_of(t, wanted), t.shape) for t in model.tensors]
    metadata: dict[str, Any] = model.metadata | {"general.file_type": FILE_TYPES[name]}
    total, done = sum(info.nbytes for info in infos), 0
    with GGUFWriter(path, metadata, infos) as writer:
        for tensor, info in zip(model.tensors, infos, strict=True):
            for data in _encoded(tensor, info.format):
                writer.write(info.name, data)
                done += data.nbytes
                progress(done, total)
        nbytes = writer.nbytes
    by_format: dict[str, int] = {}
    for info in infos:
        by_format[info.format.name] = by_format.get(info.format.name, 0) + info.nbytes
    return Written(path, model.architecture, len(infos), nbytes, by_format, _notes(infos, wanted))


def _encoded(tensor: ModelTensor, form: type[Format]) -> Iterator[NDArray[np.uint8]]:
    """The bytes of a tensor, some rows at a time."""
    step = max(1, CHUNK // max(tensor.shape[-1], 1))
    for first in range(0, tensor.rows, step):
        values = tensor.read(first, min(first + step, tensor.rows))
        if form.name == "F16" and np.abs(values).max(initial=0) >= TOO_LARGE:
            raise BadFileError(f"tensor {shown(tensor.name)} holds numbers too large for f16", "--type bf16 keeps them")
        yield form.quantize(values)


def _chosen(model: Model, name: str) -> str:
    """The type by its name in capitals; for AUTO the one that most numbers are kept in."""
    if name != "AUTO":
        return name
    sizes: dict[str, int] = {}
    for tensor in model.tensors:
        if len(tensor.shape) > 1:
            sizes[tensor.format.name] = sizes.get(tensor.format.name, 0) + prod(tensor.shape)
    most = max(sizes, key=lambda n: sizes[n], default="F16")
    return most if most in ("BF16", "Q8_0") else "F16"


def _notes(infos: list[TensorInfo], wanted: type[Format]) -> tuple[str, ...]:
    odd = [info.name for info in infos if info.format.name == "F16" and wanted.name != "F16"]
    if not odd:
        return ()
    return (f"{len(odd)} tensors stay f16, their rows are no multiple of {wanted.block}: {odd[0]}, ...",)
