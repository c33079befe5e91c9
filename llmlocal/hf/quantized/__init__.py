"""Folders of quantized weights: a file for each way in which they are stored.

A file says in METHODS which values of `quant_method` in config.json it reads, and defines `decoded(weights)`, which
gives the tensors of the folder under the names that they have without quantization. A file is found by what it says:
there is no list to edit. Values are computed in float32 while rows are read. Where a GGUF format says the same as the
stored integers, a tensor has that format and its bytes (`Stream.blocks`), so that nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from ..config import Settings
from ..streams import Stream
from .weights import QuantizedWeights

OLD_FILES = {  # by method: the file, and the part of it that says how; "" for all
    "gptq": ("quantize_config.json", ""),
    "awq": ("quant_config.json", ""),
    "modelopt": ("hf_quant_config.json", "quantization"),
}
Decoder = Callable[[QuantizedWeights], dict[str, Stream]]


@cache
def methods() -> dict[str, Decoder]:
    """What decodes weights, by the name of the method."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return {method: module.decoded for module in modules for method in getattr(module, "METHODS", ())}


def _config(s: Settings) -> Any:
    """What a folder says of its quantization: in config.json, or in the file of an old version of what made it."""
    found = next((s.values[name] for name in ("quantization_config", "compression_config") if s.find(name)), None)
    if found is not None:
        return found
    for method, (file, part) in OLD_FILES.items():
        whole = s.folder.json(file)
        said = whole.get(part) if part else whole
        if isinstance(said, dict) and said:
            return {"quant_method": method, **said}
    return None


def decoded(s: Settings, tensors: Mapping[str, Stream]) -> dict[str, Stream]:
    """The tensors of a folder, those that are quantized by a known method decoded; a note in `s` says so.

    Raises BadFileError where scales are missing or do not fit.
    """
    config = _config(s)
    if not isinstance(config, dict):
        return dict(tensors)
    method = config.get("quant_method")
    decoder = methods().get(method) if isinstance(method, str) else None
    return dict(tensors) if decoder is None else decoder(QuantizedWeights(s, config, tensors))
