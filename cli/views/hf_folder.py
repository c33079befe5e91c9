"""A Hugging Face folder as lines and as a JSON record: what `convert` would make of it, or what an adapter changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import NotFoundError, UsageError
from ...model_info.describe import TEMPLATE, template_kind
from ...text import format_bytes
from ..ui import terminal
from ..ui.terminal import one_line
from .model import adapter_record, adapter_sheet, to_json

if TYPE_CHECKING:
    from ...convert.hf_source import HFSource


def show_folder(path: Path, key: str | None, *, as_json: bool, more: bool) -> None:
    """Print a folder's facts, or the value that metadata key `key` would have. `more`: options that need a GGUF file.

    Raises what `open_hf` and `describe_peft` raise, NotFoundError for an unknown key, UsageError for `more`.
    """
    from ...convert.hf_source import open_hf
    from ...lora.describe_peft import describe_peft, is_peft

    if is_peft(path):
        if more or key is not None:
            raise UsageError(f"{one_line(str(path))}: an adapter has no such parts", f"llmlocal show {path}")
        facts = describe_peft(path)
        return terminal.say(adapter_record(facts, path)) if as_json else terminal.rows(adapter_sheet(facts, path))
    if more:
        raise UsageError("--kv, --tensors and --fit need a GGUF file", "llmlocal convert makes one of this folder")
    with open_hf(path) as source:
        if key is not None:
            if key not in source.values:
                raise NotFoundError(f"convert would make no key {key} of this folder")
            value = source.values[key]
            if as_json:
                terminal.say(to_json(path=str(path), key=key, value=value))
            else:
                terminal.show_text(f"{value}" if key == TEMPLATE else f"{value}\n")
        elif as_json:
            terminal.say(to_json(path=str(path), **folder_facts(source)))
        else:
            terminal.rows(_sheet(path, folder_facts(source)))


def folder_facts(source: HFSource) -> dict[str, Any]:
    """The facts of a folder, named as those of a GGUF file are; None where they are not stated."""
    from ...model_info.arch_value import arch_value

    values = source.values
    return {
        "name": values.get("general.name"),
        "architecture": values["general.architecture"],
        "supported": True,
        "parameters": sum(prod(tensor.shape) for tensor in source.tensors),
        "formats": dict(Counter(tensor.format.name for tensor in source.tensors).most_common()),
        "n_bytes": sum(file.stat().st_size for file in source.path.glob("*.safetensors")),
        "layers": arch_value(values, "block_count"),
        "width": arch_value(values, "embedding_length"),
        "context": arch_value(values, "context_length"),
        "vocabulary_size": len(values.get("tokenizer.ggml.tokens", ())),
        "template": template_kind(values),
        "chat_template": values.get(TEMPLATE),
        "notes": source.notes,
    }


def _sheet(path: Path, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "model", f"{facts['name'] or path.resolve().name}"
    yield "folder", f"{path}, {format_bytes(facts['n_bytes'])} of safetensors"
    yield "architecture", facts["architecture"]
    yield "parameters", f"{facts['parameters']:,}"
    yield "layers", f"{facts['layers']}, hidden size {facts['width']}"
    if facts["context"]:
        yield "context", f"{facts['context']:,} tokens"
    yield "tensors", ", ".join(f"{n} {name}" for name, n in facts["formats"].items())
    yield "vocabulary", f"{facts['vocabulary_size']:,} tokens"
    yield "chat template", facts["template"] or "none"
    yield from (("note", note) for note in facts["notes"])
    yield "to run it", f"llmlocal convert {path} model.gguf"
