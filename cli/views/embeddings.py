"""Vectors as lines, or as numbers in a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ...errors import UsageError
from ..ui import terminal
from .answers import STDOUT, Target

if TYPE_CHECKING:
    from ...embedding.embedder import Vectors

NPY_HEADER = 128  # bytes: room for any number of rows, so that it can be written again at the end
SPLITS = ("line", "paragraph")


def read_split(value: str) -> int | None:
    """The number of tokens that `--split` names, None for a line or a paragraph. Raises UsageError."""
    if value in SPLITS:
        return None
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 1 << 31):
        raise UsageError(f"--split {value}: must be line, paragraph, or a number of tokens")
    return int(value)


def cut_texts(count: int) -> str:
    """How many texts were cut, as the beginning of a sentence."""
    return "1 text was cut" if count == 1 else f"{count} texts were cut"


class VectorTarget:
    """Where vectors go: a file or stdout, as `jsonl`, `csv`, `raw` or `npy`.

    Raises UsageError as `Target` does, and for a NumPy file on stdout: its header, which comes first, says how many
    vectors there are.
    """

    def __init__(self, path: Path | None, layout: str, force: bool, inputs: Sequence[Path]) -> None:
        if layout == "npy" and path in (None, STDOUT):
            raise UsageError("--format npy writes a file", "name it with -o, or use --format raw")
        self.layout = layout
        self._target = Target(path, False, force, list(inputs))

    def write(self, screen: terminal.Screen, groups: Iterable[Vectors], width: int) -> None:
        """Write all vectors (texts, width), each group as soon as it is there."""
        groups = _counted(screen, groups)
        with self._target.open() as out:
            if self.layout == "npy" and out is not None:
                return _write_npy(out, groups, width)
            for data in _encoded(groups, self.layout):
                (out or terminal.stdout()).write(data)


def _counted(screen: terminal.Screen, groups: Iterable[Vectors]) -> Iterator[Vectors]:
    """The groups, with a line that says how many texts are done."""
    texts = tokens = 0
    for group in groups:
        yield group
        texts, tokens = texts + len(group.rows), tokens + sum(group.tokens)
        screen.status(f"{texts} texts, {tokens} tokens")
    screen.clear()


def _encoded(groups: Iterable[Vectors], layout: str) -> Iterator[bytes]:
    """Each group as bytes: JSON objects on lines, numbers between commas, or little-endian float32."""
    number = 0
    for group in groups:
        if layout == "raw":
            yield group.rows.astype("<f4").tobytes()
            continue
        numbers, lines = ",".join(["%.9g"] * group.rows.shape[1]), []
        for row, tokens in zip(group.rows, group.tokens, strict=True):
            vector = numbers % tuple(row.tolist())
            if layout == "jsonl":
                vector = f'{{"index":{number},"tokens":{tokens},"embedding":[{vector}]}}'
            lines.append(vector)
            number += 1
        yield "".join(f"{line}\n" for line in lines).encode()


def _write_npy(out: BinaryIO, groups: Iterable[Vectors], width: int) -> None:
    """A NumPy file (texts, width) of float32; the number of rows is written into its header at the end."""
    rows = 0
    out.write(_npy_header(rows, width))
    for group in groups:
        out.write(group.rows.astype("<f4").tobytes())
        rows += len(group.rows)
    out.seek(0)
    out.write(_npy_header(rows, width))


def _npy_header(rows: int, width: int) -> bytes:
    """The header of version 1.0 of NumPy's format."""
    fields = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    size = (NPY_HEADER - 10).to_bytes(2, "little")
    return b"\x93NUMPY\x01\x00" + size + fields.ljust(NPY_HEADER - 11).encode() + b"\n"
