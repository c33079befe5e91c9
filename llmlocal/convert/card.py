"""The keys `general.*`: what a model is called, of what size it is, and how its makers say to draw tokens.

The rules by which names are read out of a model card and a folder's name are the `gguf` package's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..gguf.values import ValueType
from ..hf.config import Keys
from ..hf.folder import Folder
from ..hf.streams import Stream

MAX_CARD = 1 << 20  # bytes of README.md


def general_keys(folder: Folder, tensors: Mapping[str, Stream]) -> Keys:
    """The keys for a folder and its tensors under their GGUF names, each as (type, value)."""
    import gguf

    card, counts = folder.path / "README.md", count(tensors)
    path = None if card.is_file() and card.stat().st_size > MAX_CARD else folder.path.resolve()
    try:
        return _keys(gguf.Metadata.load(None, path, None, counts[0]), folder, counts)
    except Exception:  # a card that is no YAML, or has a number for a name: no reason to stop, it is only a description
        return _keys(gguf.Metadata(), folder, counts)


def count(tensors: Mapping[str, Stream]) -> tuple[int, int, int, int]:
    """Parameters in all, those that every token meets, those of one expert, and the number of experts."""
    total = shared = expert = experts = stacks = 0
    for name, x in tensors.items():
        size = x.rows * x.k
        total += size
        if "_exps." in name and len(x.shape) > 2:
            expert += size // x.shape[0]
            experts, stacks = experts + x.shape[0], stacks + 1
        else:
            shared += size
    return total, shared, expert, experts // stacks if stacks else 0


def _keys(said: Any, folder: Folder, counts: tuple[int, int, int, int]) -> Keys:
    """What `gguf` makes of a description, recorded by a writer that writes nothing."""
    import gguf

    said.name = said.name or folder.path.resolve().name
    if said.size_label is None and counts[0]:
        said.size_label = gguf.size_label(*counts)
    if said.sampling_penalty_repeat is None:
        said.sampling_penalty_repeat = folder.json("generation_config.json").get("repetition_penalty")
    recorder = gguf.GGUFWriter(path=None, arch="")
    said.set_gguf_meta_model(recorder)
    keys = {key: (ValueType(int(value.type)), value.value) for key, value in recorder.kv_data[0].items()}
    return {
        key: (ValueType.STRING, value) if kind is ValueType.ARRAY else (kind, value)
        for key, (kind, value) in keys.items()
        if key != "general.architecture" and _is_plain(kind, value)
    }


def _is_plain(kind: ValueType, value: Any) -> bool:
    """Whether a value is of the type that it says: a text, a number, or a list of texts."""
    match kind, value:
        case ValueType.ARRAY, list():
            return bool(value) and all(isinstance(text, str) for text in value)
        case ValueType.STRING, str():
            return True
        case ValueType.F32, float() | int():
            return abs(value) < 1e30
        case ((ValueType.U32 | ValueType.I32), int()):
            return 0 <= value < 1 << 31
    return False
