"""Blocks that predict further tokens (MTP) in a folder: GGUF counts them behind the others."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .config import Keys
from .streams import Stream

LAYER = re.compile(r"model\.layers\.(\d{1,9})\.(.*)")
APART = re.compile(r"^(?:model\.)?mtp\.(?:layers\.(\d{1,4})\.)?(.*)")  # where they have a part of their own
# The names of its tensors, and those that other folders have in the place of them.
SHARED = {"fc": "eh_proj", "pre_fc_norm_embedding": "enorm", "pre_fc_norm_hidden": "hnorm", "norm": "shared_head.norm"}
PROJECTION = "eh_proj.weight"
NAMES = {
    "eh_proj": "eh_proj",
    "enorm": "enorm",
    "hnorm": "hnorm",
    "embed_tokens": "embed_tokens",
    "shared_head.norm": "shared_head_norm",
    "shared_head.head": "shared_head_head",
}  # of a block in a folder -> in GGUF, behind nextn.


def with_predictors(tensors: Mapping[str, Stream], keys: Keys) -> tuple[dict[str, Stream], Keys]:
    """The tensors of a folder, those of such blocks under the numbers behind the others, and the keys that count them.

    Both as they are where there is no whole block.
    """
    blocks = keys.get("block_count")
    if not isinstance(blocks, int):
        return dict(tensors), keys
    named = {_numbered(name, blocks): x for name, x in tensors.items()}
    if f"model.layers.{blocks}.{PROJECTION}" not in named:
        return dict(tensors), keys
    last = max(int(found[1]) for name in named if (found := LAYER.fullmatch(name)))
    more: Keys = {"block_count": last + 1, "nextn_predict_layers": last + 1 - blocks}
    flags = keys.get("attention.recurrent_layers")
    if isinstance(flags, list):
        more["attention.recurrent_layers"] = [*flags, *[False] * (last + 1 - blocks)]
    return named, {**keys, **more}


def table(blocks: int) -> dict[str, str]:
    """Names without suffix -> GGUF's, for every block."""
    each = NAMES.items()
    return {f"model.layers.{i}.{old}": f"blk.{i}.nextn.{new}" for i in range(blocks) for old, new in each}


def _numbered(name: str, blocks: int) -> str:
    found = APART.fullmatch(name)
    if found is None:
        return name
    if found[1] is not None:
        return f"model.layers.{blocks + int(found[1])}.{found[2]}"
    stem, _, suffix = found[2].rpartition(".")
    return f"model.layers.{blocks}.{SHARED.get(stem, stem)}.{suffix}"
