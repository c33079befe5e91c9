"""JSON files from others: bounded in size, parsed strictly, with one clear line for every error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from ..errors import BadFileError
from ..files.lfs_pointer import check_no_pointer
from ..files.small_file import read_small_text
from ..text import escaped

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
MAX_BYTES = 128 << 20  # the largest real tokenizer.json has 35 MB


def read_object(path: Path, most: int = MAX_BYTES) -> dict[str, Any]:
    """The object in a JSON file. Raises NotFoundError where there is none, BadFileError for anything but an object."""
    return parse_object(read_text(path, most), str(path))


def read_list(path: Path, most: int = MAX_BYTES) -> list[Any]:
    """The list in a JSON file. Raises as `read_object` does."""
    value = _parsed(read_text(path, most), str(path))
    if not isinstance(value, list):
        raise BadFileError(f"{escaped(str(path))}: must be a list, not {type(value).__name__}")
    return value


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """A UTF-8 file of at most `most` bytes, with or without a byte order mark. Raises NotFoundError, BadFileError."""
    text = read_small_text(path, most)
    check_no_pointer(text[:100].encode(), escaped(str(path)))
    return text


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object; `where` names it in errors. Raises BadFileError; duplicate names and NaN are errors, too."""
    value = _parsed(text, where)
    if not isinstance(value, dict):
        raise BadFileError(f"{escaped(where)}: must be an object, not {type(value).__name__}")
    return value


def _parsed(text: str | bytes, where: str) -> Any:
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique, parse_constant=_no_constant)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # an error where one stands alone
    except RecursionError:
        raise BadFileError(f"{escaped(where)}: nested too deeply") from None
    except ValueError as error:
        raise BadFileError(f"{escaped(where)}: not JSON: {error}", "download the file again") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"duplicate name {twice!r:.60}")
    return held


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")
