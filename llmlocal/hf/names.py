"""GGUF's names for the tensors of transformers, from the tables of the `gguf` package."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import BadFileError
from ..text import shown
from . import predictors
from .config import Settings
from .conversion import WITHOUT_MTP, Conversion
from .streams import Stream, stacked

# Buffers that old checkpoints hold beside their weights, and the parts for images and sound; projector.0 and
# projector.2 by themselves are those of Jina Reranker 3.
BUFFERS = (".attention.masked_bias", ".attention.bias", ".attn.masked_bias", ".attn.bias", ".rotary_emb.inv_freq")
TABLES = ("embeddings.position_ids", "embeddings.token_type_ids")  # of integers
MULTIMODAL = re.compile(
    r"^(mlp|vit\.|vpm\.|talker\.|token2wav\.|code2wav\.|merger\.|resampler\.)|visual\.|vision[._]|audio[._]|(?<!^)(?<!vocab_)projector\.|^projector\.(?![02]\.weight$)|image_newline|patch_embed"
    r"|patch_merge"
)
NUMBERED = re.compile(  # what GGUF stacks
    r"\.((?:chunk_)?experts|altup_(?:unembed_)?projections|time_mix_lerp_fused)\.(\d+)\."
)
LAYER = re.compile(r"model\.layers\.(\d{1,9})\.")
SUFFIXES = (".weight", ".bias", ".scale")


def named_for_gguf(
    tensors: Mapping[str, Stream], conversion: Conversion, arch: str, blocks: int, s: Settings
) -> dict[str, Stream]:
    """The tensors of a folder under GGUF's names: the architecture's steps applied, experts stacked.

    Raises BadFileError for a tensor that the architecture does not have, and for missing experts.
    """
    out: dict[str, Stream] = {}
    tensors = _without_predictors(tensors, s, blocks)
    table = predictors.table(blocks) | _table(conversion.named_as or arch, blocks) | _own(conversion, blocks)
    for name, stream in _experts_together(_stepped(tensors, conversion, s)).items():
        new = table.get(name) or next(
            (f"{table[stem]}{suffix}" for suffix in SUFFIXES if (stem := name.removesuffix(suffix)) in table), None
        )
        if new is None:
            raise BadFileError(
                f"{s.path}: tensor {shown(name)} is unknown in architecture {arch}",
                "the folder is damaged, or not of this class",
            )
        if new in out:
            raise BadFileError(f"{s.path}: two tensors map to {new}, one of them is {shown(name)}")
        out[new] = stream
    return out


def _without_predictors(tensors: Mapping[str, Stream], s: Settings, count: int) -> Mapping[str, Stream]:
    """The tensors without those of blocks behind the last of `count`, which predict further tokens (MTP)."""
    if not s.integer("num_nextn_predict_layers", default=0):
        return tensors
    kept = {name: x for name, x in tensors.items() if not (found := LAYER.match(name)) or int(found[1]) < count}
    if len(kept) < len(tensors) and WITHOUT_MTP not in s.notes:
        s.note(WITHOUT_MTP)
    return kept


def is_dropped(name: str) -> bool:
    """Whether a tensor of transformers is not part of the text model's weights."""
    return name.endswith((*BUFFERS, *TABLES)) or is_of_tower(name)


def is_of_tower(name: str) -> bool:
    """Whether a tensor of transformers belongs to the part of a model for images or sound."""
    return MULTIMODAL.search(name) is not None


def _stepped(tensors: Mapping[str, Stream], conversion: Conversion, s: Settings) -> dict[str, Stream]:
    """The tensors of the text model, after the steps whose expressions match their names."""
    steps = [(re.compile(pattern), step) for pattern, step in conversion.steps.items()]
    out: dict[str, Stream] = {}
    for full_name, tensor in tensors.items():
        if is_dropped(full_name):
            continue
        made = {full_name.replace("language_model.", ""): tensor}
        for pattern, step in steps:
            made = {new: y for name, x in made.items() for new, y in _one(pattern, step, name, x, s)}
        if twice := made.keys() & out.keys():
            raise BadFileError(f"{s.path}: two tensors map to {shown(min(twice))}")
        out |= made
    return out


def _one(pattern: re.Pattern[str], step: object, name: str, x: Stream, s: Settings) -> list[tuple[str, Stream]]:
    found = pattern.search(name)
    if found is None or not callable(step):
        return [(name, x)]
    made = step(s, x)
    if isinstance(made, Stream):
        return [(name, made)]
    return [(name[: found.start()] + found.expand(new) + name[found.end() :], y) for new, y in made.items()]


def _experts_together(tensors: Mapping[str, Stream]) -> dict[str, Stream]:
    """Tensors of single experts, `...experts.7.up_proj.weight`, stacked into one: `...experts.up_proj.weight`."""
    out: dict[str, Stream] = {}
    groups: dict[str, dict[int, Stream]] = {}
    for name, stream in tensors.items():
        if found := NUMBERED.search(name):
            groups.setdefault(NUMBERED.sub(r".\1.", name, count=1), {})[int(found[2])] = stream
        else:
            out[name] = stream
    for name, experts in groups.items():
        if sorted(experts) != list(range(len(experts))):
            raise BadFileError(f"tensor {shown(name)} is missing for some experts", "download the missing files")
        out[name] = stacked([experts[i] for i in range(len(experts))])
    return out


def _own(conversion: Conversion, blocks: int) -> dict[str, str]:
    """The names that the package's map lacks, each as itself, with the number of each block in the place of `{}`."""
    return {(own := name.format(i)): own for name in conversion.own_names for i in range(blocks)}


def _table(arch: str, blocks: int) -> dict[str, str]:
    """Names without suffix -> GGUF's names without suffix."""
    import gguf

    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    if arch not in kinds:
        raise BadFileError(
            f"architecture {arch} has no table of tensor names in the gguf package", "a newer gguf package may have it"
        )
    # The package lists no output matrix where the published models use the embedding; some trained from them have one.
    output = {"lm_head": "output"}
    shared = gguf.TensorNameMap.block_mappings_cfg
    before = dict(shared)
    mapping = gguf.get_tensor_name_map(kinds[arch], blocks).mapping
    shared.update(before)  # the package writes the names of one architecture into the map of all
    table = {name: new for name, (_, new) in mapping.items()}
    # A model saved without its head, as embedding models are, has names without the prefix.
    bare = {name.removeprefix("model."): new for name, new in table.items() if name.startswith("model.")}
    return bare | output | table
