"""Byte spans of tensors in a GGUF file: order, alignment, completeness. Computes with Python integers only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import BadFileError
from ..quant.format import BY_ID, Format
from ..quant.formats import load_all, load_named
from ..text import counted, shown
from .values import REMOVED_TYPES, TENSOR_TYPES, padded

FETCH_AGAIN = "get the file again; llmlocal pull MODEL --force downloads one anew"
AGAIN = "convert the Hugging Face folder of the model: llmlocal quantize FOLDER OUT TYPE (TQ2_0 for BitNet)"
MAX_DIM = (1 << 63) - 1
MAX_TENSOR_BYTES = 1 << 48  # more means a corrupt header, not an interrupted download


class Record(NamedTuple):
    """A tensor record: `dims` in GGUF's order (row length first), ggml `type`, `offset` from the start of the data."""

    name: str
    dims: tuple[int, ...]
    type: int
    offset: int


def supported_format(record: Record) -> type[Format]:
    """The format of a tensor's type. Raises BadFileError for a type that llmlocal does not support."""
    if record.type not in BY_ID and record.type in TENSOR_TYPES:
        load_named(TENSOR_TYPES[record.type][0])
    if record.type not in BY_ID:
        load_all()
    if record.type not in BY_ID:
        kind = f"type {record.type} ({TENSOR_TYPES[record.type][0]})"
        raise BadFileError(
            f"tensor {shown(record.name)}: {kind} is not supported yet", "use a file in another quantization"
        )
    return BY_ID[record.type]


def tensor_span(record: Record, start: int) -> tuple[int, int]:
    """Start and end of a tensor's bytes in a file whose tensor data begins at byte `start`.

    Raises BadFileError for an unknown type, a dimension outside 0..2^63-1, or rows that are not whole blocks.
    """
    name, block, nbytes = _block_of(record)
    count = 1
    for i, n in enumerate(record.dims):
        if not 0 <= n <= MAX_DIM:
            raise BadFileError(f"tensor {shown(record.name)} dimension {i} is out of range")
        count *= n
    row = record.dims[0] if record.dims else 1
    if row % block:
        raise BadFileError(f"tensor {shown(record.name)}: row of {row} is not a multiple of {block} ({name})")
    first = start + record.offset
    return first, first + count // block * nbytes


def place(records: Sequence[Record], start: int, alignment: int, size: int) -> list[tuple[int, int]]:
    """The spans of all tensors in a file of `size` bytes: aligned, disjoint, in order, without gaps, inside the file.

    `start` is the first byte of tensor data, a multiple of `alignment`. Gaps are refused as in llama.cpp: writers leave
    none, and a gap may hide data. Raises BadFileError for the first fault.
    """
    spans: list[tuple[int, int]] = []
    expected = start
    for record in records:
        span = tensor_span(record, start)
        need = span[1] - span[0]
        if need > MAX_TENSOR_BYTES:
            raise BadFileError(f"tensor {shown(record.name)} needs {need} bytes, file has {size}")
        if span[0] != expected:
            raise BadFileError(_misplaced(records, spans, span, alignment, size))
        spans.append(span)
        expected = padded(span[1], alignment)
    end = spans[-1][1] if spans else 0
    if end > size:
        short = counted(end - size, "byte")
        raise BadFileError(f"file is {short} short ({size} of {end}), download incomplete", FETCH_AGAIN)
    return spans


def _misplaced(
    records: Sequence[Record], before: list[tuple[int, int]], span: tuple[int, int], alignment: int, size: int
) -> str:
    """The message for a tensor that does not start where the one before it ends."""
    record = records[len(before)]
    name = shown(record.name)
    if span[0] > size:
        return f"tensor {name} starts past the end of file"
    if record.offset % alignment:
        return f"tensor {name} offset {record.offset} is not a multiple of {alignment}"
    for other, (first, end) in zip(records, before, strict=False):
        if first < span[1] and span[0] < end:
            return f"tensors {shown(other.name)} and {name} overlap"
    return f"tensor {name} offset {record.offset} leaves a gap or is out of order"


def _block_of(record: Record) -> tuple[str, int, int]:
    """Name, values per block and bytes per block of a tensor's type."""
    kind, name = record.type, shown(record.name)
    if kind in BY_ID:
        return BY_ID[kind].name, BY_ID[kind].block, BY_ID[kind].nbytes
    if kind in TENSOR_TYPES:
        return TENSOR_TYPES[kind]
    if kind in REMOVED_TYPES:
        raise BadFileError(f"tensor {name} has removed type {kind} ({REMOVED_TYPES[kind]})", AGAIN)
    load_all()
    if kind not in BY_ID:
        raise BadFileError(f"tensor {name} has unknown type {kind}")
    return BY_ID[kind].name, BY_ID[kind].block, BY_ID[kind].nbytes


def check_version(version: int) -> None:
    """Raises BadFileError for a version of GGUF that is not read."""
    if version and not version & 0xFFFF:
        raise BadFileError("big-endian GGUF is not supported", "convert the model again on this machine")
    if version == 0:
        raise BadFileError("bad GGUF version 0")
    if version == 1:
        raise BadFileError("GGUF version 1 is too old, convert again")
    if version > 3:
        raise BadFileError(f"GGUF version {version} is newer than supported (3)", "a newer llmlocal may read it")
