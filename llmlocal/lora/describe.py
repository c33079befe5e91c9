"""What a GGUF adapter is, from its header alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

from ..gguf import GGUFFile


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """`changes`: how many tensors are changed; `ranks`: in how many of them each rank; `alpha` is None for 1 / rank."""

    name: str | None
    base_model: str | None
    architecture: str | None
    kind: str | None
    alpha: float | None
    changes: int
    ranks: dict[int, int]
    parameters: int
    n_bytes: int
    formats: dict[str, int]


def describe_adapter(gguf: GGUFFile) -> AdapterFacts:
    """The facts of an adapter's file; what it does not say, or says wrongly, is None."""
    meta, tensors = gguf.metadata, gguf.tensors
    alpha = meta.get("adapter.lora.alpha")
    ranks = Counter(t.shape[-1] for t in tensors.values() if t.name.endswith(".lora_b") and t.shape)
    return AdapterFacts(
        text_or_none(meta.get("general.name")),
        text_or_none(meta.get("general.base_model.0.name")),
        text_or_none(meta.get("general.architecture")),
        text_or_none(meta.get("adapter.type")),
        number_or_none(alpha),
        ranks.total(),
        dict(sorted(ranks.items())),
        sum(prod(t.shape) for t in tensors.values()),
        sum(state.st_size for _, state, _ in gguf.files()),
        dict(Counter(t.format.name for t in tensors.values()).most_common()),
    )


def text_or_none(value: object) -> str | None:
    """A value that a file should have as a text, None where it is none, or empty."""
    return value if isinstance(value, str) and value else None


def number_or_none(value: object) -> float | None:
    """A value that a file should have as a number, None where it is none, or 0."""
    return float(value) if isinstance(value, int | float) and value else None
