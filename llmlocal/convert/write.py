"""From a Hugging Face folder to a GGUF file, some rows of one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadFileError, UsageError
from ..gguf.values import shown
from ..gguf.writer import GGUFWriter, TensorInfo
from ..quant.format import BY_NAME, Format, load_all
from .model import HFModel

CHUNK = 1 << 22  # values read at once
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "BF16": 32}  # GGUF's `general.file_type`
# Small tensors that decide much, and tables that are added to activations, stay F32 (as in llama.cpp).
PRECISE = ("ffn_gate_inp", "ffn_gate_inp_shexp", "position_embd", "token_types", "ssm_conv1d", "shortconv.conv")
Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True)
class Written:
    """What a conversion made: sizes in bytes of the file and of its tensors by format, and what to know about it."""

    path: Path
    nbytes: int
    by_format: dict[str, int]
    notes: tuple[str, ...]


def format_of(info: TensorInfo, wanted: type[Format]) -> type[Format]:
    """The format of a tensor in a file whose matrices are `wanted`; F16 where a row is no multiple of its block."""
    stem, _, last = info.name.rpartition(".")
    if len(info.shape) == 1 or last != "weight" or stem.endswith(("_norm", *PRECISE)):
        return BY_NAME["F32"]
    return wanted if info.shape[-1] % wanted.block == 0 else BY_NAME["F16"]


def write_model(model: HFModel, path: Path, type_name: str, progress: Progress = lambda *_: None) -> Written:
    """Write `model` with matrices of type F32, F16, BF16 or Q8_0. The file appears whole or not at all.

    `type_name` "auto" is what most of the folder is stored in (F16 where that is F32). Raises UsageError for another
    type, BadFileError for numbers that cannot be kept, and what `GGUFWriter` raises.
    """
    load_all()
    name = _chosen(model, type_name.upper())
    if name not in FILE_TYPES:
        raise UsageError(f"--type {type_name} is not one of {', '.join(t.lower() for t in FILE_TYPES)}, auto")
    infos = [TensorInfo(info.name, format_of(info, BY_NAME[name]), info.shape) for info in model.tensors]
    metadata: dict[str, Any] = model.metadata | {"general.file_type": FILE_TYPES[name]}
    total, done = sum(info.nbytes for info in infos), 0
    with GGUFWriter(path, metadata, infos) as writer:
        for info in infos:
            for data in _encoded(model, info):
                writer.write(info.name, data)
                done += data.nbytes
                progress(done, total)
        nbytes = writer.nbytes
    by_format: dict[str, int] = {}
    for info in infos:
        by_format[info.format.name] = by_format.get(info.format.name, 0) + info.nbytes
    return Written(path, nbytes, by_format, _notes(infos, BY_NAME[name]))


def _encoded(model: HFModel, info: TensorInfo) -> Any:
    """The bytes of a tensor, some rows at a time."""
    rows = int(np.prod(info.shape[:-1], dtype=np.int64))
    step = max(1, CHUNK // max(info.shape[-1], 1))
    for first in range(0, rows, step):
        values = model.rows(info.name, first, min(first + step, rows))
        if info.format.name == "F16" and np.abs(values).max(initial=0) > 65504:
            raise BadFileError(f"tensor {shown(info.name)} holds numbers too large for f16", "--type bf16 keeps them")
        yield info.format.quantize(values)


def _chosen(model: HFModel, name: str) -> str:
    if name != "AUTO":
        return name
    sizes: dict[str, int] = {}
    for info in model.tensors:
        if len(info.shape) > 1:
            sizes[info.format.name] = sizes.get(info.format.name, 0) + info.nbytes
    most = max(sizes, key=lambda n: sizes[n], default="F16")
    return most if most != "F32" else "F16"


def _notes(infos: list[TensorInfo], wanted: type[Format]) -> tuple[str, ...]:
    odd = [info.name for info in infos if info.format.name == "F16" and wanted.name != "F16"]
    if not odd:
        return ()
    return (f"{len(odd)} tensors stay f16, their rows are no multiple of {wanted.block}: {odd[0]}, ...",)
