"""The keys `general.*`: name, size and recommended sampling, from the model card and the name of the folder.

The `gguf` package reads the card, so the keys are those of llama.cpp's converter.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from ..gguf.values import ValueType
from ..hf.config import Keys
from ..hf.folder import CARD, MAX_CARD, Folder
from ..hf.streams import Stream
from ..text import format_bytes

MAX_FRONT = 256 << 10  # characters of YAML; real cards with results of many tests have some 100,000


def general_keys(folder: Folder, tensors: Mapping[str, Stream]) -> Keys:
    """The keys for a folder and its tensors (by GGUF name), each as (type, value)."""
    import gguf

    counts = count(tensors)
    folder.has("generation_config.json")  # the package opens it, so a link to a file outside is refused here
    path = None if why_unread(folder) else folder.path.resolve()
    said = logging.getLogger("metadata")  # the package's: what it says is for developers, and as long as the card
    said.disabled = True
    try:
        return _keys(gguf.Metadata.load(None, path, None, counts[0]), folder, counts)
    except Exception:  # a card with broken YAML or odd values is only a description: go on without it
        return _keys(gguf.Metadata(), folder, counts)
    finally:
        said.disabled = False


def why_unread(folder: Folder) -> str:
    """Why the model card of a folder is not read, empty where it is: reading YAML takes long, and aliases multiply."""
    if not folder.has(CARD):
        return ""
    if (folder.path / CARD).stat().st_size > MAX_CARD:
        return f"{CARD} has more than {format_bytes(MAX_CARD)} and is not read"
    lines = folder.card().splitlines()
    front = "\n".join(takewhile("---".__ne__, lines[1:])) if lines[:1] == ["---"] else ""
    if len(front) > MAX_FRONT:
        return f"{CARD} begins with more than {format_bytes(MAX_FRONT)} of YAML and is not read"
    return f"{CARD} has aliases in its YAML and is not read" if _has_aliases(front) else ""


def _has_aliases(front: str) -> bool:
    import yaml  # type: ignore[import-untyped]

    if "*" not in front or "&" not in front:
        return False
    try:
        return any(isinstance(token, yaml.AliasToken) for token in yaml.scan(front))
    except (yaml.YAMLError, RecursionError):
        return False  # nothing is read of it


def count(tensors: Mapping[str, Stream]) -> tuple[int, int, int, int]:
    """Parameters in all, parameters outside of experts, parameters of one expert in all layers, and experts."""
    total = shared = expert = experts = stacks = 0
    for name, x in tensors.items():
        size = x.rows * x.k
        total += size
        if "exps." in name and len(x.shape) > 2:
            expert += size // x.shape[0]
            experts, stacks = experts + x.shape[0], stacks + 1
        else:
            shared += size
    return total, shared, expert, experts // stacks if stacks else 0


def _keys(description: Any, folder: Folder, counts: tuple[int, int, int, int]) -> Keys:
    """The keys that `gguf` makes of a description, collected from a writer without a file."""
    import gguf

    description.name = description.name or folder.path.resolve().name
    if description.size_label is None and counts[0]:
        description.size_label = gguf.size_label(*counts)
    if description.sampling_penalty_repeat is None:
        description.sampling_penalty_repeat = folder.json("generation_config.json").get("repetition_penalty")
    recorder = gguf.GGUFWriter(path=None, arch="")
    description.set_gguf_meta_model(recorder)
    keys = {key: (ValueType(int(value.type)), value.value) for key, value in recorder.kv_data[0].items()}
    return {
        key: (ValueType.STRING, value) if kind is ValueType.ARRAY else (kind, value)
        for key, (kind, value) in keys.items()
        if key != "general.architecture" and _is_plain(kind, value)
    }


def _is_plain(kind: ValueType, value: Any) -> bool:
    """Whether a value fits its declared type: a string, a number, or a list of strings."""
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
