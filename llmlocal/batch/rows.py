"""Rows of a file of prompts: lines of JSON, CSV or text, each read by itself, so that a bad one fails alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import BadFileError, UsageError
from ..text import shown

Layout = Literal["jsonl", "csv", "text"]
JSON_LINES: Layout = "jsonl"
LAYOUTS: Mapping[str, Layout] = {"jsonl": JSON_LINES, "csv": "csv", "text": "text"}  # by their names
ENDINGS: Mapping[str, Layout] = {".jsonl": JSON_LINES, ".ndjson": JSON_LINES, ".csv": "csv", ".txt": "text"}
LONGEST_FIELD = 1 << 26  # characters of a field of CSV


@dataclass(frozen=True, slots=True)
class Row:
    """Row `number`, counted from 1: its `fields`, or the `error` for which it cannot be used.

    `source` is what it was read from, as bytes that differ wherever rows do.
    """

    number: int
    source: bytes
    fields: Mapping[str, Any] = field(default_factory=dict)
    error: UsageError | None = None


def rows(lines: Iterable[bytes], layout: Layout) -> Iterator[Row]:
    """The rows of lines without their ends; empty lines are left out.

    A line of text is the field `prompt`, and so is a string in JSON lines. The first line of CSV names the fields.
    Raises BadFileError for CSV that cannot be divided into rows.
    """
    lines = _without_mark(lines)
    if layout == "csv":
        yield from _csv_rows(lines)
        return
    read = _json_fields if layout == "jsonl" else _text_fields
    for number, line in enumerate((line for line in lines if line.strip()), 1):
        yield _row(number, line, read)


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without the byte order mark of the first."""
    for n, line in enumerate(lines):
        yield line if n else line.removeprefix(b"\xef\xbb\xbf")


def _row(number: int, source: bytes, read: Callable[[str], Mapping[str, Any]]) -> Row:
    try:
        return Row(number, source, read(source.decode()))
    except UnicodeDecodeError as error:
        return Row(number, source, error=UsageError(f"the row is not UTF-8: byte {error.start}"))
    except UsageError as error:
        return Row(number, source, error=error)


def _text_fields(text: str) -> Mapping[str, Any]:
    return {"prompt": text}


def _json_fields(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UsageError("the row has half a character (a lone surrogate)") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the row is not JSON: {error}") from None
    if isinstance(value, str):
        return _text_fields(value)
    if not isinstance(value, dict):
        raise UsageError(f"the row is {shown(text[:40])}: must be an object or a string")
    return value


def _csv_rows(lines: Iterable[bytes]) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader((line.decode("utf-8", "surrogateescape") + "\n" for line in lines), strict=True)
    try:
        names = next(reader, [])
        if len({*names}) < len(names) or not all(names):
            raise BadFileError("the first line of the CSV must name each field, by different names")
        for number, values in enumerate(filter(None, reader), 1):
            source = json.dumps([names, values]).encode()
            yield _row(number, source, lambda text, names=names: _csv_fields(text, names))  # type: ignore[misc]
    except csv.Error as error:
        raise BadFileError(f"line {reader.line_num} of the CSV: {error}") from None


def _csv_fields(text: str, names: list[str]) -> Mapping[str, Any]:
    values: list[str] = json.loads(text)[1]
    if len(values) != len(names):
        raise UsageError(f"the row has {len(values)} fields, and the first line names {len(names)}")
    if any("\udc80" <= c <= "\udcff" for value in values for c in value):
        raise UsageError("the row is not UTF-8")
    return dict(zip(names, values, strict=True))
