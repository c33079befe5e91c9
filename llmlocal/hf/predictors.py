"""Blocks that predict further tokens (MTP) in a folder: GGUF counts them behind the others."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .config import Keys
from .streams import Stream

LAYER = re.compile(r"model\.layers\.(\d{1,9})\.(.*)")
APART = re.compile(r"^(?:model\.)?mtp\.(?:layers\.(\d{1,4})\.)?(.*)")  # where they have a part of their own
# ERNIE's, and what its parts are called in the other folders.
ERNIE = re.compile(r"^(?:model|ernie)\.mtp_(block|emb_norm|hidden_norm|linear_proj)\.(\d{1,4})\.(.*)")
PARTS = {"block": "", "emb_norm": "enorm.", "hidden_norm": "hnorm.", "linear_proj": "eh_proj."}
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
# Where a block is written as two layers, attention and experts, the second one's parts -> those of the block.
SECOND = {"norm": "post_attention_norm", "final_layernorm": "shared_head.norm"}


def with_predictors(tensors: Mapping[str, Stream], keys: Keys, own: Keys) -> tuple[dict[str, Stream], Keys]:
    """The tensors of a folder, those of such blocks under the numbers behind the others, and the keys that count them.

    Keys that are lists get the element in `own` for each such block. Both as they are where there is no whole block.
    """
    blocks = keys.get("block_count")
    if not isinstance(blocks, int):
        return dict(tensors), keys
    halves = any(".mixer." in name for name in tensors if APART.match(name))
    named = {_numbered(name, blocks, halves=halves): x for name, x in tensors.items()}
    if f"model.layers.{blocks}.{PROJECTION}" not in named:
        return dict(tensors), keys
    count = max(int(found[1]) for name in named if (found := LAYER.fullmatch(name))) + 1 - blocks
    own = {"attention.recurrent_layers": False, **own}
    lists = {
        key: [*values, *[own[key]] * count] for key, values in keys.items() if isinstance(values, list) and key in own
    }
    return named, {**keys, **lists, "block_count": blocks + count, "nextn_predict_layers": count}


def table(blocks: int) -> dict[str, str]:
    """Names without suffix -> GGUF's, for every block."""
    each = NAMES.items()
    return {f"model.layers.{i}.{old}": f"blk.{i}.nextn.{new}" for i in range(blocks) for old, new in each}


def _numbered(name: str, blocks: int, *, halves: bool) -> str:
    if found := ERNIE.fullmatch(name):
        return f"model.layers.{blocks + int(found[2])}.{PARTS[found[1]]}{found[3]}"
    found = APART.fullmatch(name)
    if found is None:
        return name
    if found[1] is not None and halves:
        block, second = divmod(int(found[1]), 2)
        stem, _, suffix = found[2].rpartition(".")
        if second and stem in SECOND:
            form = "blk.{}.{}.{}" if stem == "norm" else "model.layers.{}.{}.{}"
            return form.format(blocks + block, SECOND[stem], suffix)
        return f"model.layers.{blocks + block}.{found[2]}"
    if found[1] is not None:
        return f"model.layers.{blocks + int(found[1])}.{found[2]}"
    stem, _, suffix = found[2].rpartition(".")
    return f"model.layers.{blocks}.{SHARED.get(stem, stem)}.{suffix}"
