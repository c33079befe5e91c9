"""A LoRA adapter as lines and as a JSON record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ...gguf import GGUFFile
from ...lora.describe import AdapterFacts, describe_adapter
from ...text import format_bytes
from ..ui import terminal
from .model import to_json


def show_adapter(gguf: GGUFFile, path: Path, *, as_json: bool) -> None:
    """Print what an adapter is."""
    facts = describe_adapter(gguf)
    if as_json:
        ranks = {str(rank): n for rank, n in facts.ranks.items()}
        terminal.say(to_json(path=str(path), type="adapter", **asdict(facts) | {"ranks": ranks}))
    else:
        terminal.rows(_sheet(facts, path))


def _sheet(facts: AdapterFacts, path: Path) -> Iterator[tuple[str, str]]:
    yield "adapter", f"{facts.name or path.stem}, {facts.kind or 'of a kind that is not given'}"
    yield "file", f"{path.name}, {format_bytes(facts.n_bytes)}"
    yield "for", f"{facts.architecture or 'not given'}" + (f", {facts.base_model}" if facts.base_model else "")
    yield "ranks", ", ".join(f"{rank} in {n} tensors" for rank, n in facts.ranks.items()) or "none"
    if facts.alpha is not None:
        yield "alpha", f"{facts.alpha:g}"
    yield "parameters", f"{facts.parameters:,}"
    yield "tensors", ", ".join(f"{n} {name}" for name, n in facts.formats.items()) or "none"
    yield "to use it", f"llmlocal run MODEL --lora {path}"
