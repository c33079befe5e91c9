"""A reader of SentencePiece's `.model` files: pieces with scores and types, and the settings of the normalizer.

Reads the part of protobuf that these files need: fields by number, in any order, unknown ones skipped. Field numbers
are those of sentencepiece_model.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import unpack

from ..errors import BadFileError
from ..files.lfs_pointer import check_no_pointer
from ..files.small_file import read_small
from ..text import escaped
from ..tokenizer.vocab import BYTE, NORMAL

MAX_BYTES = 64 << 20
UNIGRAM, BPE = 1, 2
VARINT, WIDE, BYTES, NARROW = 0, 1, 2, 5  # protobuf's wire types


@dataclass(frozen=True, slots=True)
class Pieces:
    """`pieces`: (text, score, GGUF's token type) by id; `kind`: UNIGRAM or BPE; the others are the normalizer's."""

    pieces: list[tuple[str, float, int]]
    kind: int
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool


def read_sentencepiece(path: Path) -> Pieces:
    """Read a file. Raises BadFileError where it is damaged, or where its model is neither BPE nor Unigram."""
    where = escaped(str(path))
    data = read_small(path, MAX_BYTES)
    check_no_pointer(data, where)
    try:
        found = _model(data)
    except (ValueError, IndexError) as error:
        raise BadFileError(f"{where}: is not a SentencePiece model: {error}", "download the file again") from None
    if not found.pieces or found.kind not in (UNIGRAM, BPE):
        raise BadFileError(f"{where}: holds no BPE or Unigram vocabulary")
    return found


def _model(data: bytes) -> Pieces:
    pieces: list[tuple[str, float, int]] = []
    kind, charsmap, prefix, squeeze = UNIGRAM, b"", True, True
    for number, value in _fields(data):
        match number, value:
            case 1, bytes():
                pieces.append(_piece(value))
            case 2, bytes():
                kind = next((v for n, v in _fields(value) if n == 3 and isinstance(v, int)), kind)
            case 3, bytes():
                for inner, setting in _fields(value):
                    if inner == 2 and isinstance(setting, bytes):
                        charsmap = setting
                    elif inner == 3:
                        prefix = bool(setting)
                    elif inner == 4:
                        squeeze = bool(setting)
    return Pieces(pieces, kind, charsmap, prefix, squeeze)


def _piece(data: bytes) -> tuple[str, float, int]:
    text, score, type = "", 0.0, NORMAL
    for number, value in _fields(data):
        match number, value:
            case 1, bytes():
                text = value.decode("utf-8")
            case 2, float():
                score = value
            case 3, int():
                type = value
    if not NORMAL <= type <= BYTE:
        raise ValueError(f"a piece of type {type}")
    return text, score, type


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """(number, value) of each field. Raises ValueError or IndexError where the bytes are not a protobuf message."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        size = {WIDE: 8, NARROW: 4}.get(wire, -1)
        if wire == BYTES:
            size, at = _varint(data, at)
        if size < 0 or at + size > end:
            raise ValueError("a field ends after the end of the file")
        raw = data[at : at + size]
        at += size
        yield number, unpack("<f", raw)[0] if wire == NARROW else raw


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
