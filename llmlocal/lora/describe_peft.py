"""What a PEFT folder is, from its configuration and the header of its weights alone."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from math import prod
from pathlib import Path

from ..hf.safetensors import Safetensors
from .adapter import CONFIG, FACTOR, peft_files
from .describe import AdapterFacts, number_or_none, text_or_none


def is_peft(path: Path) -> bool:
    """Whether a folder is an adapter instead of a model."""
    return (path / CONFIG).is_file() and not (path / "config.json").is_file()


def describe_peft(path: Path) -> AdapterFacts:
    """The facts of a PEFT folder, which names no architecture. Raises what `peft_files` and `Safetensors` raise."""
    config, weights = peft_files(path)
    with closing(Safetensors(weights)) as file:
        tensors = file.tensors
    ranks = Counter(t.shape[-1] for name, t in tensors.items() if (found := FACTOR.match(name)) and found[3] == "B")
    return AdapterFacts(
        path.resolve().name,
        text_or_none(config.get("base_model_name_or_path")),
        None,
        (text_or_none(config.get("peft_type")) or "").lower() or None,
        number_or_none(config.get("lora_alpha")),
        ranks.total(),
        dict(sorted(ranks.items())),
        sum(prod(t.shape) for t in tensors.values()),
        weights.stat().st_size,
        dict(Counter(t.float_format for t in tensors.values()).most_common()),
    )
