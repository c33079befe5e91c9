"""Keys and values of prompts on disk, so that a prefix that was read once is not read again. Knows no text.

An entry is a file: MAGIC, the length of a JSON header, the header (key, tokens, shapes), the token ids, the planes of
`KVCache.first_cells`, and a digest of all before it. It serves every prompt that begins as it does.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError, LlmlocalError
from ..files.atomic_file import atomic_file
from ..gguf import GGUFFile
from ..text import escaped

if TYPE_CHECKING:
    from ..engine import Engine

MAGIC = b"llmlocal prefix 1\n"
LENGTH = struct.Struct("<I")
DIGEST = 32  # bytes
WORTH = 128  # tokens that make it worth while to keep or to fetch a prefix
LIMIT = 4 << 30  # bytes of all entries together
MAX_HEADER = 1 << 20
SAMPLE = 256  # bytes of a tensor's beginning, middle and end that identify it


@dataclass(frozen=True, slots=True)
class Entry:
    """A file whose header can be that of a prefix; its content was not looked at yet."""

    path: Path
    key: str
    ids: NDArray[np.int32]
    shapes: list[tuple[int, int, int]]
    start: int  # offset of the first plane

    @property
    def nbytes(self) -> int:
        """What the whole file must be."""
        return self.start + sum(map(prod, self.shapes)) + DIGEST


class PromptCache:
    """Prefixes in a folder of their own, the least used leaving first, or one prefix in one named file.

    What does not fit the model, or is damaged, is not used. Nothing that goes wrong with a folder stops an answer:
    `notes` says it.
    """

    def __init__(self, place: Path | None = None, *, named: bool = False, limit: int = LIMIT) -> None:
        """`named`: `place` is a file. Raises BadFileError where it is a file of another kind."""
        self.place, self.named, self.limit = place or folder(), named, limit
        self.notes: list[str] = []
        self._key: str | None = None
        if named and self.place.exists() and _entry(self.place) is None:
            hint = "name a file that a prompt cache was kept in, or a new one"
            raise BadFileError(f"{escaped(str(self.place))} is no prompt cache", hint)

    def restore(self, engine: Engine, ids: Sequence[int]) -> int:
        """Put the longest prefix of `ids` that is kept into sequence 0; how many tokens came from the disk."""
        entries = list(self._entries())
        if not entries:
            return 0
        wanted = np.array(ids[:-1], np.int32)
        have = _shared(np.array(engine.history(), np.int32), wanted)
        best, best_length = None, have + WORTH - 1
        for entry in entries:
            length = _shared(entry.ids, wanted)
            if length > best_length and entry.key == self._key_of(engine):
                best, best_length = entry, length
        if best is None or not self._copy(best, engine, best_length):
            return 0
        with suppress(OSError):
            os.utime(best.path)
        return best_length

    def store(self, engine: Engine) -> None:
        """Keep what sequence 0 holds, unless it is kept already or not worth while."""
        if engine.length() < WORTH:
            return
        ids = np.array(engine.history(), np.int32)
        entries = [entry for entry in self._entries() if entry.key == self._key_of(engine)]
        if any(_shared(entry.ids, ids) == len(ids) for entry in entries):
            return
        try:
            self._write(engine, ids)
            for entry in () if self.named else entries:
                if _shared(entry.ids, ids) == len(entry.ids):
                    entry.path.unlink(missing_ok=True)  # the new one begins as it does, and goes on
            self._evict()
        except (OSError, LlmlocalError) as error:
            if self.named and isinstance(error, LlmlocalError):
                raise
            self.notes.append(f"the prompt cache could not be written: {error}")

    def _write(self, engine: Engine, ids: NDArray[np.int32]) -> None:
        key, path = self._key_of(engine), self.place
        if not self.named:
            self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.place / f"{blake2b(key.encode() + ids.tobytes(), digest_size=16).hexdigest()}.prefix"
        cells = engine.cells(len(ids))
        if sum(plane.nbytes for plane in cells) > self.limit:
            return
        shapes = [plane.shape for plane in cells]
        header = json.dumps({"key": key, "tokens": len(ids), "shapes": shapes}).encode()
        digest = blake2b(digest_size=DIGEST)
        with atomic_file(path, force=True) as file:
            os.chmod(file.fileno(), 0o600)
            for part in (MAGIC + LENGTH.pack(len(header)) + header, ids.tobytes()):
                digest.update(part)
                file.write(part)
            for plane in cells:
                for head in plane:
                    digest.update(np.ascontiguousarray(head).data)
                    file.write(np.ascontiguousarray(head).data)
            file.write(digest.digest())

    def _copy(self, entry: Entry, engine: Engine, length: int) -> bool:
        """Copy the first `length` cells of an entry into the engine, if all of the entry is as it was written."""
        cells = engine.cells(length)
        try:
            data = np.memmap(entry.path, np.uint8, "r")
            whole = len(data) == entry.nbytes and _covers(entry.shapes, cells)
            if not whole or blake2b(data[:-DIGEST].data, digest_size=DIGEST).digest() != data[-DIGEST:].tobytes():
                self.notes.append(f"the prompt cache {escaped(entry.path.name)} is damaged and is not used")
                return False
        except (OSError, ValueError):
            return False
        engine.adopt(())  # from here on the cells are no longer what they were
        at = entry.start
        for plane, shape in zip(cells, entry.shapes, strict=True):
            plane[:] = data[at : at + prod(shape)].reshape(shape)[:, : plane.shape[1]]
            at += prod(shape)
        engine.adopt(entry.ids[:length].tolist())
        return True

    def _entries(self) -> Iterator[Entry]:
        paths = [self.place] if self.named else sorted(self.place.glob("*.prefix"))
        yield from filter(None, map(_entry, paths))

    def _evict(self) -> None:
        """Remove the least used entries until the rest is within the limit."""
        if self.named:
            return
        found = [(path.stat(), path) for path in self.place.glob("*.prefix")]
        total = sum(stat.st_size for stat, _ in found)
        for stat, path in sorted(found, key=lambda pair: pair[0].st_mtime_ns):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= stat.st_size

    def _key_of(self, engine: Engine) -> str:
        if self._key is None:
            self._key = f"{identity(engine.gguf, engine.n_ctx)}-{engine.cache_format}"
        return self._key


def folder() -> Path:
    """The user's folder of prefixes."""
    from ..quant.jit.cache import cache_root

    return cache_root().with_name("prefixes")


def sources() -> Iterator[Path]:
    """Every file of ours that keys and values depend on, besides kernels: how a forward pass is recorded and run."""
    here = Path(__file__).parents[1]
    for room in ("runtime", "layers", "models"):
        yield from sorted((here / room).rglob("*.py"))
    yield here / "engine.py"


def identity(gguf: GGUFFile, n_ctx: int) -> str:
    """What keys and values depend on besides tokens: the model's content, by samples of every tensor, and our code."""
    from .. import ops
    from ..quant.jit.cache import fingerprint
    from ..quant.jit.cpu import target

    digest = blake2b(fingerprint(target(), ops.__name__).encode(), digest_size=20)
    for path in sources():
        digest.update(path.read_bytes())
    prefix = f"{gguf.metadata.get('general.architecture')}."
    for name in sorted(gguf.metadata):
        if name.startswith(prefix):
            digest.update(f"{name}={gguf.metadata[name]!r};".encode())
            digest.update(str(n_ctx).encode() if "rope.scaling" in name else b"")  # some scale by the context
    for tensor in gguf.tensors.values():
        digest.update(f"{tensor.name} {tensor.format.name} {tensor.shape};".encode("utf-8", "surrogateescape"))
        middle, end = tensor.nbytes // 2, max(0, tensor.nbytes - SAMPLE)
        for at in (0, middle, end):
            digest.update(tensor.data[at : at + SAMPLE])
    return digest.hexdigest()


def _entry(path: Path) -> Entry | None:
    """The entry in a file, None where it is none."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return None
            (length,) = LENGTH.unpack(file.read(LENGTH.size))
            header: Any = json.loads(file.read(min(length, MAX_HEADER)))
            shapes = [(int(a), int(b), int(c)) for a, b, c in header["shapes"]]
            n = int(header["tokens"])
            size = path.stat().st_size
            if n < 1 or 4 * n > size or any(not 0 < number < size for shape in shapes for number in shape):
                return None
            ids = np.frombuffer(file.read(4 * n), np.int32)
            return Entry(path, str(header["key"]), ids, shapes, file.tell()) if len(ids) == n else None
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _covers(shapes: Sequence[tuple[int, int, int]], cells: Sequence[NDArray[np.uint8]]) -> bool:
    """Whether planes of these shapes hold at least what the cells take."""
    return len(shapes) == len(cells) and all(
        stored[0] == plane.shape[0] and stored[1] >= plane.shape[1] and stored[2] == plane.shape[2]
        for stored, plane in zip(shapes, cells, strict=True)
    )


def _shared(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """How many tokens two texts begin with in common."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if differ.size else n
