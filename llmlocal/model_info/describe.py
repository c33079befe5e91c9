"""A summary of a GGUF file from its metadata and tensor sizes; works for any valid GGUF file.

Imports neither NumPy nor Numba and loads no tokenizer, template engine or kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import models
from ..gguf import Array, GGUFFile, file_types
from ..gguf.split import later_parts
from ..tokenizer.vocab import ids_outside, vocabulary_size
from .arch_value import arch_value
from .memory import Memory, head_sizes, kv_heads, memory
from .predictor_memory import can_predict, predicting_blocks
from .text_memory import reads_texts, text_memory

DEFAULT_CONTEXT = 4096  # as the engine's; a test compares them
TEMPLATE = "tokenizer.chat_template"
LICENSES = ("general.license.name", "general.license", "general.license.link")

# Text that identifies a kind of template, the more specific kinds first.
TEMPLATE_KINDS = (
    ("<|im_start|>", "chatml"),
    ("<|start_header_id|>", "llama3"),
    ("<<SYS>>", "llama2"),
    ("[INST]", "mistral"),
    ("<start_of_turn>", "gemma"),
    ("<|start_of_role|>", "granite"),
    ("<|start|>", "harmony"),
    ("<|START_OF_TURN_TOKEN|>", "command-r"),
    ("<｜User｜>", "deepseek"),
    ("<|assistant|>", "phi3 or zephyr"),
    ("### Instruction", "alpaca"),
    ("ASSISTANT:", "vicuna"),
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The vocabulary: tokenizer kind, pre-tokenizer, size in tokens; `special` maps names such as bos to (id, text).

    `notes`: what is wrong with the special ids.
    """

    kind: str
    pre: str | None
    size: int
    special: dict[str, tuple[int, str]]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Description:
    """A summary of a model file; None where the file does not state a value. `n_bytes` counts all parts.

    `formats`: number of tensors by format. `supported`: whether llmlocal has the architecture. `template`: its kind.
    `predicting_blocks` predict further tokens (MTP); `predicts` says whether they are run, for speculation. `assists`:
    of an assistant the width of the model that it predicts them for.
    """

    name: str | None
    n_bytes: int
    n_parts: int
    version: int
    trailing_bytes: int
    architecture: str | None
    supported: bool
    parameters: int
    bits_per_weight: float | None
    file_type: str | None
    formats: dict[str, int]
    layers: int | None
    width: int | None
    feed_forward: int | None
    heads: int | None
    kv_heads: int | None
    head_size: int | None
    experts: int | None
    experts_used: int | None
    context: int | None
    predicting_blocks: int
    predicts: bool
    assists: int | None
    vocabulary: Vocabulary | None
    template: str | None
    license: str | None
    memory: Memory


def describe(gguf: GGUFFile, n_ctx: int | None = None, kv_type: str = "f16") -> Description:
    """Summarize an open file; memory is estimated for `n_ctx` tokens, by default the default context of a run.

    Raises UsageError for an unknown `kv_type`.
    """
    metadata, tensors = gguf.metadata, gguf.tensors.values()
    architecture = text(metadata, "general.architecture")
    parameters, nbytes = sum(t.rows * t.k for t in tensors), sum(t.nbytes for t in tensors)
    context = arch_value(metadata, "context_length")
    tokens = n_ctx or min(context or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    assists = models.assists(metadata)
    parts = [gguf.path, *(gguf.path.with_name(name) for name in later_parts(gguf.path.name, metadata))]
    return Description(
        name=text(metadata, "general.name"),
        n_bytes=sum(part.stat().st_size for part in parts),
        n_parts=len(parts),
        version=gguf.version,
        trailing_bytes=gguf.trailing_bytes,
        architecture=architecture,
        supported=architecture in models.names(),
        parameters=parameters,
        bits_per_weight=8 * nbytes / parameters if parameters else None,
        file_type=file_type(metadata),
        formats=dict(Counter(tensor.format.name for tensor in tensors).most_common()),
        layers=arch_value(metadata, "block_count"),
        width=arch_value(metadata, "embedding_length"),
        feed_forward=arch_value(metadata, "feed_forward_length"),
        heads=arch_value(metadata, "attention.head_count"),
        kv_heads=kv_heads(metadata),
        head_size=head_sizes(metadata)[0] or None,
        experts=arch_value(metadata, "expert_count") or None,
        experts_used=arch_value(metadata, "expert_used_count") or None,
        context=context,
        predicting_blocks=predicting_blocks(metadata),
        predicts=assists or can_predict(metadata, gguf.tensors),
        assists=arch_value(metadata, "embedding_length_out") if assists else None,
        vocabulary=vocabulary(metadata),
        template=template_kind(metadata),
        license=next((found for key in LICENSES if (found := text(metadata, key))), None),
        memory=text_memory(metadata, gguf.tensors, tokens)
        if reads_texts(metadata)
        else memory(metadata, gguf.tensors, tokens, kv_type),
    )


def text(metadata: Mapping[str, Any], key: str) -> str | None:
    """A string from metadata, None where it is missing, empty or of another type."""
    value = metadata.get(key)
    return value if isinstance(value, str) and value else None


def file_type(metadata: Mapping[str, Any]) -> str | None:
    """The name of the mix of formats that the file was made with."""
    value = metadata.get(file_types.KEY)
    return file_types.NAMES.get(value) if isinstance(value, int) else None


def template_kind(metadata: Mapping[str, Any]) -> str | None:
    """The kind of chat template, "custom" for an unknown one, None where there is none."""
    source = text(metadata, TEMPLATE)
    if source is None:
        return None
    return next((kind for mark, kind in TEMPLATE_KINDS if mark in source), "custom")


def vocabulary(metadata: Mapping[str, Any]) -> Vocabulary | None:
    """The vocabulary of a file, None where it has none."""
    kind, tokens = text(metadata, "tokenizer.ggml.model"), metadata.get("tokenizer.ggml.tokens")
    if kind is None or not isinstance(tokens, Array):
        return None
    special = {}
    for name in ("bos", "eos", "eot", "unknown", "padding"):
        id = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if isinstance(id, int) and 0 <= id < len(tokens):
            special[name] = id, str(tokens[id])
    notes = list(ids_outside(metadata, len(tokens)).values())
    return Vocabulary(kind, text(metadata, "tokenizer.ggml.pre"), vocabulary_size(metadata), special, notes)
