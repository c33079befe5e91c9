"""A model's file as lines and as JSON records. Draws nothing itself.

Names and texts from a file are escaped to one line each, so that none can pass for another line of the output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import NotFoundError
from ...gguf.values import Array
from ...text import format_bytes
from ..ui.terminal import one_line

if TYPE_CHECKING:
    from ...gguf import GGUFFile
    from ...lora.describe import AdapterFacts
    from ...model_info.describe import Description

LONGEST = 80  # characters of a value that are shown in a list
FEW = 6  # elements of an array that are shown in a list


def sheet(d: Description, path: Path) -> Iterator[tuple[str, str]]:
    """Label and text of each line about a model, the most important first."""
    parts = f" in {d.n_parts} parts" if d.n_parts > 1 else ""
    yield "model", f"{d.name or path.stem}"
    yield "file", f"{path.name}, {format_bytes(d.n_bytes)}{parts}, GGUF version {d.version}"
    yield "architecture", _architecture(d)
    if d.parameters:
        yield "parameters", _count(d.parameters)
    if d.layers is not None:
        yield "layers", f"{d.layers}" + (f", hidden size {d.width}" if d.width else "")
    if d.feed_forward:
        experts = f"; {d.experts} experts, {d.experts_used} used per token" if d.experts else ""
        yield "feed-forward", f"size {d.feed_forward}{experts}"
    if d.heads:
        yield "heads", f"{d.heads}, {d.kv_heads} for keys and values, head size {d.head_size}"
    if d.context:
        yield "context", f"{d.context:,} tokens"
    if d.file_type or d.bits_per_weight:
        bits = [f"{d.bits_per_weight:.2f} bits per weight"] if d.bits_per_weight else []
        yield "file type", ", ".join([d.file_type or "not given", *bits])
    if d.formats:
        yield "tensors", f"{sum(d.formats.values())}: " + ", ".join(f"{n} {name}" for name, n in d.formats.items())
    yield "vocabulary", _vocabulary(d)
    yield "chat template", d.template or "none"
    if d.formats:
        m = d.memory
        work = format_bytes(m.scratch + m.program)
        states = f", recurrent states {format_bytes(m.states)}" if m.states else ""
        states += f", checkpoints of windows up to {format_bytes(m.windows)}" if m.windows else ""
        each = f"weights {format_bytes(m.weights)}, KV cache {format_bytes(m.cache)}{states}, buffers {work}"
        yield "memory", f"{format_bytes(m.total)} with a context of {m.n_ctx:,} tokens: {each}"
    if d.license:
        yield "license", d.license
    for note in d.vocabulary.notes if d.vocabulary else ():
        yield "note", note
    if d.assists:
        yield "note", f"an assistant: it proposes tokens for a model of width {d.assists}, given with --draft"
    elif d.predicting_blocks:
        used = "for speculation alone" if d.predicts else "and are not used"
        yield "note", f"{d.predicting_blocks} of the layers predict further tokens (MTP), {used}"
    if d.trailing_bytes:
        yield "note", f"{d.trailing_bytes} bytes after the last tensor are not part of the model"


def entries(gguf: GGUFFile) -> Iterator[str]:
    """All metadata, a line for each key; long values are cut."""
    for key, value in gguf.metadata.items():
        yield f"{one_line(key)} = {_brief(value)}"


def tensors(gguf: GGUFFile) -> Iterator[str]:
    """A line for each tensor: name, format, shape, size."""
    width = max(map(len, gguf.tensors), default=0)
    for t in gguf.tensors.values():
        shape = " x ".join(map(str, t.shape))
        yield f"{one_line(t.name):<{width}}  {t.format.name:<7}  {shape:<16}  {format_bytes(t.nbytes)}"


def entry(gguf: GGUFFile, key: str) -> Any:
    """The whole value of a key, arrays as lists. Raises NotFoundError, which names what is close."""
    if key not in gguf.metadata:
        from difflib import get_close_matches

        from ...model_info.describe import TEMPLATE

        close = get_close_matches(key, list(gguf.metadata), 3, 0.4)
        if key == TEMPLATE:
            raise NotFoundError("the file has no chat template")
        raise NotFoundError(
            f"no key {key}", f"similar keys: {', '.join(close)}" if close else "--kv without KEY lists all keys"
        )
    value = gguf.metadata[key]
    return value.tolist() if isinstance(value, Array) else value


def record(gguf: GGUFFile, path: Path, d: Description) -> str:
    """Everything as one JSON object; of an array its type and length."""
    from ...model_info.describe import TEMPLATE

    kinds = gguf.types
    return to_json(
        path=str(path),
        **asdict(d),
        chat_template=template if isinstance(template := gguf.metadata.get(TEMPLATE), str) else None,
        metadata={key: _short(kinds[key].label, value) for key, value in gguf.metadata.items()},
        tensors=[
            {"name": t.name, "format": t.format.name, "shape": t.shape, "bytes": t.nbytes}
            for t in gguf.tensors.values()
        ],
    )


def other_sheet(d: Description, path: Path, what: str, use: str) -> list[tuple[str, str]]:
    """Label and text of each line about a file that is `what` instead of a model; `use` says what it is for."""
    return [
        ("file", f"{path.name}, {format_bytes(d.n_bytes)}, GGUF version {d.version}"),
        ("holds", f"{what}, no model"),
        ("tensors", ", ".join(f"{n} {name}" for name, n in d.formats.items()) or "none"),
        ("hint", use),
    ]


def adapter_sheet(facts: AdapterFacts, path: Path) -> Iterator[tuple[str, str]]:
    """Label and text of each line about an adapter."""
    yield "adapter", f"{one_line(facts.name or path.stem)}, kind {one_line(facts.kind or 'not given')}"
    yield ("folder", f"{path}") if path.is_dir() else ("file", f"{path.name}, {format_bytes(facts.n_bytes)}")
    yield "for", one_line(", ".join(filter(None, (facts.architecture, facts.base_model))) or "not given")
    yield "ranks", ", ".join(f"{rank} in {n} tensors" for rank, n in facts.ranks.items()) or "none"
    if facts.alpha is not None:
        yield "alpha", f"{facts.alpha:g}"
    yield "parameters", f"{facts.parameters:,}"
    yield "tensors", ", ".join(f"{n} {name}" for name, n in facts.formats.items()) or "none"
    yield "to use it", f"llmlocal run MODEL --lora {path}"


def adapter_record(facts: AdapterFacts, path: Path) -> str:
    """An adapter as one JSON object."""
    ranks = {str(rank): n for rank, n in facts.ranks.items()}
    return to_json(path=str(path), type="adapter", **asdict(facts) | {"ranks": ranks})


def to_json(**fields: Any) -> str:
    """One JSON object in ASCII; numbers that JSON cannot hold become null."""
    return json.dumps({"schema": 1, **_finite(fields)}, indent=1)


def as_text(data: bytes) -> str:
    """Bytes as JSON can hold them: those that are not UTF-8 are U+FFFD."""
    return data.decode("utf-8", "replace")


def _short(kind: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Array):
        return {"type": kind, "elements": value.type.label, "length": len(value)}
    return {"type": kind, "value": value}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _brief(value: Any) -> str:
    if isinstance(value, Array):
        some = [repr(item) for item in value[:FEW]]
        return f"[{_cut(', '.join(some))}{', …' if len(value) > FEW else ''}] ({len(value):,} {value.type.label})"
    if isinstance(value, float):
        return f"{value:.7g}"  # as much as an f32 knows
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{_cut(value)} ({len(value):,} characters)"
    return one_line(str(value).lower() if isinstance(value, bool) else str(value))


def _cut(text: str) -> str:
    return one_line(text[:LONGEST]) + "…" * (len(text) > LONGEST)


def _vocabulary(d: Description) -> str:
    if d.vocabulary is None:
        return "none"
    v = d.vocabulary
    kind = f"{v.kind} ({v.pre})" if v.pre else v.kind
    return ", ".join([f"{v.size:,} tokens", kind, *(f"{name} {id} {text}" for name, (id, text) in v.special.items())])


def _count(n: int) -> str:
    """A number of parameters as people say it: 1.24 billion (1,235,814,400)."""
    for size, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if n >= size:
            return f"{n / size:.3g} {word} ({n:,})"
    return str(n)


def _architecture(d: Description) -> str:
    if d.architecture is None:
        return "not given, so it cannot run"
    if not d.formats:
        return f"{d.architecture}, no weights in the file, so it cannot run"
    return f"{d.architecture}, {'supported' if d.supported else 'not supported, so it cannot run'}"
