"""Models split over files `<name>-00001-of-0000N.gguf`: names, keys, which tensors go where. Opens no file.

Names of parts come from the opened file's own name only, never from its content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..errors import BadFileError, UsageError
from ..text import escaped, shown
from .values import Array, ValueType, padded

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
KEYS = (NUMBER, COUNT, TENSORS)
MAX_PARTS = 512
_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)


def part_name(stem: str, number: int, count: int) -> str:
    """File name of part `number` (from 0) of `count`."""
    return f"{stem}-{number + 1:05d}-of-{count:05d}.gguf"


def files_of(path: Path) -> list[Path]:
    """The file and, where it is named as the first part of a split model, the files of all parts; opens nothing."""
    match = _NAME.fullmatch(path.name)
    if match is None or int(match[2]) != 1 or int(match[3]) > MAX_PARTS:
        return [path]
    return [path, *(path.with_name(part_name(match[1], i, int(match[3]))) for i in range(1, int(match[3])))]


class Sized(Protocol):
    """A tensor, or what a writer knows of one."""

    @property
    def nbytes(self) -> int: ...


AnySized = TypeVar("AnySized", bound=Sized)


def group_tensors(tensors: Iterable[AnySized], max_bytes: int | None, alignment: int) -> list[list[AnySized]]:
    """The tensors of each part, in order: at most `max_bytes` a part (None: one part); a larger tensor has its own.

    Raises UsageError where that makes more than MAX_PARTS parts.
    """
    parts: list[list[AnySized]] = [[]]
    size = 0
    for tensor in tensors:
        step = padded(tensor.nbytes, alignment)
        if max_bytes is not None and parts[-1] and size + step > max_bytes:
            parts.append([])
            size = 0
        parts[-1].append(tensor)
        size += step
    if len(parts) > MAX_PARTS:
        raise UsageError(f"that makes {len(parts)} files, at most {MAX_PARTS} are allowed", "give a larger size")
    return parts


def part_keys(number: int, count: int, tensors: int) -> dict[str, tuple[ValueType, int]]:
    """The keys `split.*` of part `number` (from 0) of `count`; `tensors` is the number in all parts together."""
    return {NUMBER: (ValueType.U16, number), COUNT: (ValueType.U16, count), TENSORS: (ValueType.I32, tensors)}


def later_parts(name: str, metadata: Mapping[str, Any]) -> list[str]:
    """File names of the parts that follow the first part `name`; none where the model is one file.

    Raises BadFileError where this is not the first part, or where its name and its keys contradict each other.
    """
    count = _integer(metadata, COUNT, 1) if COUNT in metadata else 1
    if count in (0, 1):
        return []
    if not 1 < count <= MAX_PARTS:
        raise BadFileError(f"split into {count} files, at most {MAX_PARTS}")
    number = _integer(metadata, NUMBER, -1)
    match = _NAME.fullmatch(name)
    stem = match[1] if match else "<name>"
    if 0 < number < count:
        first = escaped(part_name(stem, 0, count))
        raise BadFileError(f"is part {number + 1} of {count}, open {first}", "name the first part; the others follow")
    if number != 0:
        raise BadFileError(f"{NUMBER} {number} is not in 0..{count - 1}")
    if name != part_name(stem, 0, count):
        end = part_name("", 0, count)
        raise BadFileError(f"is part 1 of {count}, but not named <name>{end}", "keep all parts together as published")
    return [part_name(stem, i, count) for i in range(1, count)]


def check_part(
    number: int, first: Mapping[str, tuple[ValueType, Any]], part: Mapping[str, tuple[ValueType, Any]]
) -> None:
    """Raises BadFileError unless the part has the number of its name and its keys agree with the first part's."""
    if NUMBER not in part or part[NUMBER][1] != number:
        raise BadFileError(f"{NUMBER} is not {number}")
    if COUNT not in part:
        raise BadFileError(f"{COUNT} is missing")
    for key, value in part.items():
        if key != NUMBER and key in first and not _same(value, first[key]):
            raise BadFileError(f"key {shown(key)} differs from the first part's")


def check_total(metadata: Mapping[str, Any], tensors: int) -> None:
    """Raises BadFileError unless all parts together hold as many tensors as the first one says."""
    total = _integer(metadata, TENSORS, -1)
    if total != tensors:
        raise BadFileError(f"{TENSORS} is {total}, the parts hold {tensors}")


def _integer(metadata: Mapping[str, Any], key: str, default: int) -> int:
    value = metadata.get(key, default)
    if type(value) is not int:
        raise BadFileError(f"{key} is not an integer")
    return value


def _same(a: tuple[ValueType, Any], b: tuple[ValueType, Any]) -> bool:
    if isinstance(a[1], Array) and isinstance(b[1], Array):
        return a[1].type is b[1].type and len(a[1]) == len(b[1]) and a[1].raw == b[1].raw
    return a[0] is b[0] and bool(a[1] == b[1])
