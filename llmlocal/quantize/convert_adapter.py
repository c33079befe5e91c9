"""A PEFT folder of a LoRA adapter becomes a GGUF adapter, as llama.cpp loads it beside the model's file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..files.atomic_file import check_output
from ..gguf import GGUFFile, TensorInfo, ValueType, open_gguf
from ..gguf.model_file import is_adapter
from ..gguf.split import files_of
from ..gguf.writer import GGUFWriter
from ..lora.adapter import Delta, read_adapter
from ..lora.run_time import check_deltas
from ..quant.format import BY_NAME
from ..quant.formats import load_all
from ..quant.recipes import FLOATS
from .convert import ConvertedModel

EMBEDDING = "token_embd.weight"  # its rows are tokens: files have its factors transposed
Floats = NDArray[np.float32]


def convert_adapter(
    path: Path, base: Path, out: Path, type_name: str = "auto", *, force: bool = False
) -> ConvertedModel:
    """Write the adapter at `path` to `out`, for the model in the GGUF file `base`; "auto" is F32.

    Raises UsageError for a type that is not a float, NotFoundError, and BadFileError for an adapter of another model,
    or that does more than add factors.
    """
    load_all()
    name = "F32" if type_name.lower() == "auto" else type_name.upper()
    if name not in FLOATS:
        raise UsageError(f"--type {type_name}: the factors of an adapter are stored as floats", "--type f16")
    check_output(out, *files_of(path), *files_of(base), force=force)
    with open_gguf(base) as gguf:
        if is_adapter(gguf):
            raise UsageError(f"--base {base} is an adapter itself", "give the GGUF file of its model")
        deltas = check_deltas(gguf, read_adapter(path))
        metadata = _metadata(gguf, path, alpha := _alpha(deltas))
    tensors = _tensors(deltas, alpha)
    format = BY_NAME[name]
    infos = [TensorInfo(name, format, x.shape) for name, x in tensors.items()]
    with GGUFWriter(out, metadata, infos) as writer:
        for tensor, x in tensors.items():
            writer.write(tensor, format.quantize(np.ascontiguousarray(x), None))
    sizes: Counter[str] = Counter()
    for info in infos:
        sizes[info.format.name] += info.nbytes
    return ConvertedModel(out, str(metadata["general.architecture"]), len(infos), writer.nbytes, dict(sizes), [])


def _alpha(deltas: dict[str, Delta]) -> float:
    """The alpha of the file, scale * rank, which most of the tensors have. 0 would mean a scale of 1."""
    alphas: Counter[float] = Counter(delta.scale * delta.left.shape[1] for delta in deltas.values())
    return alphas.most_common(1)[0][0] or 1.0


def _metadata(gguf: GGUFFile, path: Path, alpha: float) -> dict[str, object]:
    name = gguf.metadata.get("general.name")
    named = {"general.base_model.count": 1, "general.base_model.0.name": name} if isinstance(name, str) else {}
    return {
        "general.architecture": gguf.metadata["general.architecture"],
        "general.type": "adapter",
        "general.name": path.resolve().name,
        **named,
        "adapter.type": "lora",
        "adapter.lora.alpha": (ValueType.F32, alpha),
    }


def _tensors(deltas: dict[str, Delta], alpha: float) -> dict[str, Floats]:
    """Factors by name. B makes up for a scale that is not alpha / rank, as patterns of ranks and alphas give some."""
    out: dict[str, Floats] = {}
    for name, delta in deltas.items():
        rank = delta.left.shape[1]
        a, b = (delta.left, delta.right.T) if name == EMBEDDING else (delta.right, delta.left)
        out[f"{name}.lora_a"] = a
        out[f"{name}.lora_b"] = b if delta.scale == alpha / rank else b * np.float32(delta.scale * rank / alpha)
    return out
