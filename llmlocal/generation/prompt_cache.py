"""The prompt cache: keys and values of prompts on disk, so that a prefix is read by the model only once.

An entry is a file: MAGIC, the length of a JSON header, the header (key, tokens, shapes, states, windows), the token
ids, the planes of `KVCache.first_cells`, the recurrent states of models that have them, what layers with a window keep,
and a digest of everything before it. It serves every prompt that begins with its tokens.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import chain
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError, LlmlocalError
from ..files.atomic_file import atomic_file
from ..files.content_digest import content_digest, is_unchanged, known_digest
from ..files.signature import PROMPT_CACHE, carries
from ..gguf import GGUFFile
from ..quant.private_folder import make_private, why_foreign, why_foreign_file
from ..runtime.checkpoints import agreed
from ..runtime.ring import KeptWindow, blocks_of, reaching
from ..runtime.windows import kept_end
from ..text import escaped

if TYPE_CHECKING:
    from ..engine import Engine

MAGIC = PROMPT_CACHE + b"2\n"
LENGTH = struct.Struct("<I")
DIGEST = 32  # bytes
MIN_TOKENS = 128  # shorter prefixes are neither stored nor restored
MAX_BYTES = 4 << 30  # of all entries together
MAX_HEADER = 1 << 20
AT_ONCE = 16 << 20  # bytes of a model whose digest may be computed before an answer


class Entry(NamedTuple):
    """A file with the header of an entry; its content has not been checked yet."""

    path: Path
    key: str
    ids: NDArray[np.int32]
    shapes: list[tuple[int, int, int]]
    states: list[int]  # the positions of recurrent states, ascending
    state_bytes: int
    windows: list[tuple[int, int]]  # (first position, end) of what layers with a window hold, ends ascending
    window_bytes: int  # of a block
    start: int  # offset of the first plane

    @property
    def nbytes(self) -> int:
        """The size that the whole file must have."""
        return self.start + sum(map(prod, self.shapes)) + self.states_bytes + sum(self._window_sizes()) + DIGEST

    @property
    def states_bytes(self) -> int:
        """Bytes of all recurrent states."""
        return len(self.states) * self.state_bytes

    def usable(self, length: int, window: int | None) -> int:
        """How many of the first `length` tokens can be restored: all, or those before a recurrent state or a window."""

        def before_state(n: int) -> int:
            return max((position for position in self.states if position <= n), default=0) if self.state_bytes else n

        def before_window(n: int) -> int:
            return max((kept_end(*kept, n, window) for kept in self.windows), default=0) if window else n

        return agreed(length, before_state, before_window)

    def read_windows(self, data: NDArray[np.uint8]) -> Iterator[KeptWindow]:
        """The kept windows in the whole file's `data`, copied."""
        at = self.start + sum(map(prod, self.shapes)) + self.states_bytes
        for (first, end), size in zip(self.windows, self._window_sizes(), strict=True):
            yield KeptWindow(first, end, np.array(data[at : at + size]).reshape(-1, self.window_bytes))
            at += size

    def _window_sizes(self) -> list[int]:
        return [len(blocks_of(*kept)) * self.window_bytes for kept in self.windows]


class PromptCache:
    """Prefixes in a folder, where the least recently used are evicted first, or one prefix in a named file.

    Entries of another model and damaged ones are not used. Problems with the folder never stop an answer: they are
    added to `notes`.
    """

    def __init__(self, place: Path | None = None, *, named: bool = False, limit: int = MAX_BYTES) -> None:
        """`named`: `place` is a file. Raises BadFileError if it exists and is not a prompt cache."""
        self.place, self.named, self.limit = place or folder(), named, limit
        self.notes: list[str] = []
        self._identity: str | None = None
        if named and self.place.exists() and not _is_of_any_version(self.place):
            hint = "--prompt-cache needs a prompt cache or a new file"
            raise BadFileError(f"{escaped(str(self.place))} is not a prompt cache", hint)

    def restore(self, engine: Engine, ids: Sequence[int], seq: int = 0) -> int:
        """Restore the longest stored prefix of `ids` into a sequence. Returns how many tokens came from disk.

        Nothing is restored where the model's digest is not known and would take long, unless the user named a file.
        """
        if engine.reads_whole or not self._is_ours():
            return 0
        entries = list(self._entries())
        if not entries:
            return 0
        wanted = np.array(ids[:-1], np.int32)
        best, best_length = None, engine.reusable(ids, seq) + MIN_TOKENS - 1
        for entry in entries:
            length = entry.usable(_shared(entry.ids, wanted), engine.ring.window)
            if length > best_length and entry.key == self._key_of(engine, wait=self.named):
                best, best_length = entry, length
        if best is None or not self._copy(best, engine, best_length, seq):
            return 0
        with suppress(OSError):
            os.utime(best.path)
        return best_length

    def store(self, engine: Engine, seq: int = 0) -> None:
        """Store the tokens of a sequence, unless they are stored already or too few."""
        if engine.reads_whole and self.named:
            self.notes.append("the prompt was not cached: the model's encoder reads prompts whole")
        if engine.reads_whole or engine.length(seq) < MIN_TOKENS or not self._is_ours():
            return
        ids, key = np.array(engine.history(seq), np.int32), self._key_of(engine)
        if key is None:
            self.notes.append("the prompt was not cached: the model file has changed")
            return
        entries, window = [entry for entry in self._entries() if entry.key == key], engine.ring.window
        if any(_shared(entry.ids, ids) == len(ids) == entry.usable(len(ids), window) for entry in entries):
            return
        try:
            new = self._write(engine, key, ids, seq)
            if new is not None and not self.named:
                self._replace(entries, new, window)
            self._evict()
        except (OSError, LlmlocalError) as error:
            if self.named and isinstance(error, LlmlocalError):
                raise
            self.notes.append(f"the prompt cache could not be written: {error}")

    def _replace(self, entries: Sequence[Entry], new: Entry, window: int | None) -> None:
        """Remove the entries of which `new` does all that they do: those that it begins with, where it can cut itself
        back to them."""
        for entry in entries:
            n = len(entry.ids)
            if _shared(entry.ids, new.ids) == n < len(new.ids) and new.usable(n, window) >= entry.usable(n, window):
                entry.path.unlink(missing_ok=True)

    def _write(self, engine: Engine, key: str, ids: NDArray[np.int32], seq: int) -> Entry | None:
        """Write an entry, unless it is larger than all that may be kept."""
        path = self.place
        if not self.named:
            make_private(self.place)
            path = self.place / f"{blake2b(key.encode() + ids.tobytes(), digest_size=16).hexdigest()}.prefix"
        cells, states, state_bytes = engine.cells(len(ids), seq), engine.states(seq), engine.state_bytes
        windows = list(engine.ring.kept_windows(len(ids), seq))
        nbytes = sum(part.nbytes for part in chain(cells, (kept.memory for kept in windows)))
        if nbytes + len(states) * state_bytes > self.limit:
            return None
        shapes = [plane.shape for plane in cells]
        about = {"shapes": shapes, "states": list(states), "state_bytes": state_bytes}
        about |= {"windows": [(kept.first, kept.end) for kept in windows], "window_bytes": engine.ring.block_bytes}
        header = json.dumps({"key": key, "tokens": len(ids), **about}).encode()
        digest = blake2b(digest_size=DIGEST)
        with atomic_file(path, force=True) as file:
            os.chmod(file.fileno(), 0o600)
            first = np.frombuffer(MAGIC + LENGTH.pack(len(header)) + header, np.uint8)
            heads = (np.ascontiguousarray(head) for plane in cells for head in plane)
            held = (kept.memory for kept in windows)
            parts: Iterator[NDArray[Any]] = chain((first, ids), heads, *states.values(), held)
            for part in parts:
                digest.update(part.data)
                file.write(part.data)
            file.write(digest.digest())
        return _entry(path)

    def _copy(self, entry: Entry, engine: Engine, length: int, seq: int) -> bool:
        """Copy the first `length` cells of an entry into a sequence, if its digest is right."""
        cells = engine.cells(length, seq)
        try:
            data = np.memmap(entry.path, np.uint8, "r")
            whole = len(data) == entry.nbytes and _covers(entry.shapes, cells)
            whole = whole and (entry.state_bytes, entry.window_bytes) == (engine.state_bytes, engine.ring.block_bytes)
            if not whole or blake2b(data[:-DIGEST].data, digest_size=DIGEST).digest() != data[-DIGEST:].tobytes():
                self.notes.append(f"the prompt cache {escaped(entry.path.name)} is damaged and was not used")
                return False
        except (OSError, ValueError):
            return False
        engine.adopt((), seq)  # the cells are overwritten from here on
        at = entry.start
        for plane, shape in zip(cells, entry.shapes, strict=True):
            plane[:] = data[at : at + prod(shape)].reshape(shape)[:, : plane.shape[1]]
            at += prod(shape)
        nbytes, kept = entry.state_bytes, [position for position in entry.states if position <= length]
        states = {position: data[at + i * nbytes :][:nbytes] for i, position in enumerate(kept)}
        windows = reaching(entry.read_windows(data), length, engine.ring.window)
        engine.adopt(entry.ids[:length].tolist(), seq, states, windows)
        return True

    def _is_ours(self) -> bool:
        """Whether the folder is this user's alone. A file that the user names is used whoever wrote it."""
        reason = None if self.named else why_foreign(self.place)
        if reason and not self.notes:
            self.notes.append(f"the prompt cache is not used: {escaped(reason)}")
        return reason is None

    def _entries(self) -> Iterator[Entry]:
        paths = [self.place] if self.named else sorted(self.place.glob("*.prefix"))
        yield from filter(None, (_entry(path, private=not self.named) for path in paths))

    def _evict(self) -> None:
        """Remove the least recently used entries until the rest is within the limit."""
        if self.named:
            return
        found = [(path.stat(), path) for path in self.place.glob("*.prefix") if carries(path, PROMPT_CACHE)]
        total = sum(stat.st_size for stat, _ in found)
        for stat, path in sorted(found, key=lambda pair: pair[0].st_mtime_ns):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= stat.st_size

    def _key_of(self, engine: Engine, *, wait: bool = True) -> str | None:
        """The key of the engine's entries, None where it has none; with `wait` False only if it is found quickly."""
        self._identity = self._identity or identity(engine.gguf, engine.n_ctx, wait=wait)
        return f"{self._identity}-{engine.cache_format}" if self._identity else None


def folder() -> Path:
    """The user's folder of prompt caches."""
    from ..quant.jit.kept_file import cache_root

    return cache_root().with_name("prefixes")


def sources() -> Iterator[Path]:
    """Every source file that keys and values depend on besides the kernels: how a forward pass is recorded and run."""
    here = Path(__file__).parents[1]
    for room in ("runtime", "layers", "models"):
        yield from sorted((here / room).rglob("*.py"))
    yield from (here / "engine.py", here / "sequences.py")


def identity(gguf: GGUFFile, n_ctx: int, *, wait: bool = True) -> str | None:
    """Digest of what keys and values depend on besides tokens: every byte of the model's files, and our code.

    None where a file has changed since it was mapped, and with `wait` False where hashing it would take long.
    """
    from .. import ops
    from ..quant.jit.cache import fingerprint
    from ..quant.jit.cpu import target

    wait = wait or sum(state.st_size for _, state, _ in gguf.files()) <= AT_ONCE
    digest = blake2b(fingerprint(target(), ops.__name__).encode(), digest_size=20)
    for path in sources():
        digest.update(path.read_bytes())
    if any("rope.scaling" in key for key in gguf.metadata):
        digest.update(str(n_ctx).encode())  # some scale with the context
    for path, state, data in gguf.files():
        known = known_digest(state) if is_unchanged(path, state) else None
        if known is None and wait:
            known = content_digest(data, path, state)
        if known is None:
            return None
        digest.update(known.encode())
    return digest.hexdigest()


def _is_of_any_version(path: Path) -> bool:
    """Whether a file is a prompt cache, perhaps of another version, whose place a new one may take."""
    try:
        if not path.is_file():  # opening a pipe would wait for its other end
            return False
        with path.open("rb") as file:
            return file.read(len(PROMPT_CACHE)) == PROMPT_CACHE
    except OSError:
        return False


def _entry(path: Path, *, private: bool = False) -> Entry | None:
    """The entry in a file, None where the file is not an entry, or with `private` not this user's alone."""
    try:
        if not path.is_file():  # opening a pipe would wait for its other end
            return None
        with path.open("rb") as file:
            if private and why_foreign_file(path, file.fileno()):
                return None
            if file.read(len(MAGIC)) != MAGIC:
                return None
            (length,) = LENGTH.unpack(file.read(LENGTH.size))
            header: Any = json.loads(file.read(min(length, MAX_HEADER)))
            shapes = [(a, b, c) for a, b, c in header["shapes"]]
            states, state_bytes = [*header["states"]], header["state_bytes"]
            windows, window_bytes = [(first, end) for first, end in header["windows"]], header["window_bytes"]
            n, size = header["tokens"], path.stat().st_size
            whole = [(n, state_bytes, window_bytes), states, *windows, *shapes]
            if any(type(number) is not int for some in whole for number in some):
                return None
            if n < 1 or 4 * n > size or any(not 0 < number < size for shape in shapes for number in shape):
                return None
            if not 0 <= state_bytes < size or states != sorted({*states}) or any(not 0 < p <= n for p in states):
                return None
            if not bool(windows) <= window_bytes < size or any(not 0 <= first <= end <= n for first, end in windows):
                return None
            ids = np.frombuffer(file.read(4 * n), np.int32)
            parts = shapes, states, state_bytes, windows, window_bytes
            return Entry(path, str(header["key"]), ids, *parts, file.tell()) if len(ids) == n else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error):
        return None


def _covers(shapes: Sequence[tuple[int, int, int]], cells: Sequence[NDArray[np.uint8]]) -> bool:
    """Whether stored planes of these shapes contain the cells."""
    return len(shapes) == len(cells) and all(
        stored[0] == plane.shape[0] and stored[1] >= plane.shape[1] and stored[2] == plane.shape[2]
        for stored, plane in zip(shapes, cells, strict=True)
    )


def _shared(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Length of the common prefix of two arrays of token ids."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if differ.size else n
