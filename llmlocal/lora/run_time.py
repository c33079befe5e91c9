"""Adapters as changes that a model of a GGUF file adds while it runs; its weights stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import BadFileError
from ..gguf import GGUFFile
from ..layers.low_rank import Change, LowRank
from ..text import escaped, shown
from .adapter import MERGE, OTHER_MODEL, Adapter, Delta, read_adapter
from .gguf_names import named_as_in


def changes(gguf: GGUFFile, adapters: Sequence[tuple[Path, float]]) -> LowRank:
    """The sum of adapters for a model, for `Engine.open`: PEFT folders or GGUF files, each with a factor.

    Raises NotFoundError, and BadFileError for an adapter of another model, or that does more than add factors.
    """
    found: dict[str, Change] = {}
    for path, scale in adapters:
        for name, change in _changes(gguf, read_adapter(path), scale):
            if (before := found.get(name)) is not None:
                b, a = np.hstack([before.b, change.b]), np.vstack([before.a, change.a])
                change = Change(f"{before.where}, {change.where}", b, a)
            found[name] = change
    return LowRank(found, gguf.tensors)


def deltas_for(gguf: GGUFFile, adapter: Adapter) -> dict[str, Delta]:
    """What an adapter adds, by the names of a GGUF file's tensors. Raises as `changes`."""
    arch = str(gguf.metadata.get("general.architecture"))
    # Beside the factors of an embedding PEFT keeps the weights that they are added to, which are the model's.
    if replaced := adapter.replaced.keys() - adapter.deltas.keys():
        name = shown(min(replaced))
        raise BadFileError(f"{adapter.where}: replaces {name} instead of adding to it, which is not supported", MERGE)
    if adapter.architecture not in (None, arch):
        what = f"is for {escaped(str(adapter.architecture))[:60]}, the model is {escaped(arch)[:60]}"
        raise BadFileError(f"{adapter.where}: {what}", OTHER_MODEL)
    if not adapter.deltas:
        raise BadFileError(f"{adapter.where}: changes no tensor", "train it again, or leave it out")
    return dict(adapter.deltas) if adapter.architecture else named_as_in(gguf, adapter)


def check_deltas(gguf: GGUFFile, adapter: Adapter) -> dict[str, Delta]:
    """As `deltas_for`, each with the shape of the model's tensor."""
    deltas = deltas_for(gguf, adapter)
    for name, delta in deltas.items():
        tensor = gguf.tensors.get(name)
        if tensor is None:
            raise BadFileError(f"{adapter.where}: the model has no tensor {shown(name)}", OTHER_MODEL)
        delta.check(tensor.shape, f"{adapter.where}: {shown(name)}")
    return deltas


def _changes(gguf: GGUFFile, adapter: Adapter, scale: float) -> Iterator[tuple[str, Change]]:
    for name, delta in check_deltas(gguf, adapter).items():
        with np.errstate(over="ignore", invalid="ignore"):
            b = (delta.left * np.float64(delta.scale * scale)).astype(np.float32)
        if not np.isfinite(b).all():
            raise BadFileError(f"{adapter.where}: the factors of {shown(name)} are too large", "use a smaller scale")
        yield name, Change(adapter.where, b, np.ascontiguousarray(delta.right))
