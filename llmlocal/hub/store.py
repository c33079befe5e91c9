"""The Hugging Face cache on disk, in its standard layout, so that all tools share one copy of a file.

    models--ORG--NAME/blobs/DIGEST                the bytes
    models--ORG--NAME/snapshots/COMMIT/FILE       a link to a blob, or the file itself where links are not supported
    models--ORG--NAME/refs/main                   the commit that a branch points to
    .locks/models--ORG--NAME/DIGEST.lock          held during a download

Independent of the network; imports huggingface_hub only for its lock, when a file is downloaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ResourceError
from ..files.atomic_file import atomic_file
from ..text import escaped
from . import places
from .remote_file import PARTIAL, Notify, RemoteFile
from .safe_names import is_commit, is_digest, is_revision, is_safe_file

if TYPE_CHECKING:
    from .download import DownloadSource
    from .remote import Listing

_FOLDER = re.compile(r"models--([A-Za-z0-9][\w.-]*?)--([\w.-]+)", re.ASCII)
LOCKS, BLOBS, SNAPSHOTS, REFS = ".locks", "blobs", "snapshots", "refs"


class StoredFile(NamedTuple):
    """A GGUF file in a snapshot. `path` is its link there, `blob` the file it links to (`path` itself without links).

    `size` is in bytes, `used` in seconds since 1970. `refs` are the branches and tags that point to its commit; empty
    for an old revision.
    """

    repo: str
    commit: str
    name: str
    path: Path
    blob: Path
    size: int
    used: float
    refs: tuple[str, ...]


class Repo(NamedTuple):
    """The folder of one repository in the store."""

    repo: str
    folder: Path

    @classmethod
    def of(cls, repo: str) -> Repo:
        return cls(repo, places.models() / f"models--{repo.replace('/', '--')}")

    def refs(self) -> dict[str, str]:
        """Commit by branch or tag."""
        found = {}
        for path in files(self.folder / REFS):
            name = path.relative_to(self.folder / REFS).as_posix()
            with suppress(OSError, UnicodeDecodeError):
                commit = path.read_text("ascii").strip()
                if is_commit(commit) and is_revision(name):  # skips what a killed writer left
                    found[name] = commit
        return found

    def stored_files(self) -> list[StoredFile]:
        """All complete GGUF files, those of the main branch first, then of other refs, then most recently used."""
        refs = self.refs()
        names: dict[str, list[str]] = {}
        for ref, commit in refs.items():
            names.setdefault(commit, []).append(ref)
        found = [
            file
            for snapshot in folders(self.folder / SNAPSHOTS)
            if is_commit(snapshot.name)
            for path in files(snapshot)
            if path.name.lower().endswith(".gguf") and (file := self._stored_file(snapshot, path, names))
        ]
        return sorted(found, key=lambda file: ("main" not in file.refs, not file.refs, -file.used, file.name))

    def _stored_file(self, snapshot: Path, path: Path, names: dict[str, list[str]]) -> StoredFile | None:
        try:
            state = path.stat()
        except OSError:  # a dangling link
            return None
        blob = Path(os.path.normpath(path.parent / os.readlink(path))) if path.is_symlink() else path
        name = path.relative_to(snapshot).as_posix()
        used, refs = max(state.st_atime, state.st_mtime), tuple(sorted(names.get(snapshot.name, ())))
        return StoredFile(self.repo, snapshot.name, name, path, blob, state.st_size, used, refs)

    def pointer(self, commit: str, file: RemoteFile) -> Path:
        """Path of the file in a snapshot. Commit, name and digest come from the server and are checked again here."""
        if not (is_commit(commit) and is_safe_file(file.name) and is_digest(file.digest)):
            raise ValueError(f"unsafe name {file.name!r}")
        return self.folder / SNAPSHOTS / commit / file.name

    def blob(self, file: RemoteFile) -> Path:
        return self.folder / BLOBS / file.digest

    def partial(self, file: RemoteFile) -> Path:
        return self.folder / BLOBS / f"{file.digest}{PARTIAL}"

    def has(self, commit: str, file: RemoteFile) -> bool:
        """Whether the complete file is there: as a blob, or in the snapshot where links are not supported."""
        return _size(self.blob(file)) == file.size or _size(self.pointer(commit, file)) == file.size

    def missing(self, commit: str, file: RemoteFile) -> int:
        """Bytes that still have to be downloaded."""
        if self.has(commit, file):
            return 0
        return file.size - min(file.size, _size(self.partial(file)) or 0)

    def add(
        self, commit: str, file: RemoteFile, source: DownloadSource, notify: Notify, *, force: bool = False
    ) -> Path:
        """Download the file where it is missing (or with `force`), link it in the snapshot; returns that path.

        Raises as `fetch` does, and ResourceError where the store cannot be written.
        """
        from .download import fetch

        pointer, blob, partial = self.pointer(commit, file), self.blob(file), self.partial(file)
        try:
            with self.lock(file.digest, notify):
                if force or not self.has(commit, file):
                    if force:
                        partial.unlink(missing_ok=True)
                    fetch(file, source, partial, blob, notify)
                if _size(blob) == file.size and (force or _size(pointer) != file.size):
                    self._link(blob, pointer)
        except OSError as error:
            where = escaped(str(error.filename or self.folder))
            raise ResourceError(f"{where}: the store cannot be written: {error.strerror}") from error
        return pointer

    def name_revision(self, listing: Listing) -> None:
        """Point the requested branch or tag to the listed commit."""
        if (
            is_commit(listing.asked)
            or not is_revision(listing.asked)
            or self.refs().get(listing.asked) == listing.commit
        ):
            return
        path = self.folder / REFS / listing.asked
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, force=True) as out:
            out.write(listing.commit.encode())

    @contextmanager
    def lock(self, digest: str, notify: Notify) -> Iterator[None]:
        """Hold huggingface_hub's lock of a blob, so that no two tools download the same file."""
        from filelock import Timeout

        lock = import_module("huggingface_hub.utils").WeakFileLock
        path = places.models() / LOCKS / self.folder.name / f"{digest}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = lock(path, timeout=0.2)
            held.__enter__()
        except Timeout:
            notify("waiting for another program that is downloading this file")
            held = lock(path)
            held.__enter__()
        try:
            yield
        finally:
            held.__exit__(None, None, None)

    def _link(self, blob: Path, pointer: Path) -> None:
        """Link the snapshot's file to the blob; where links are not supported, move the blob there instead."""
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.unlink(missing_ok=True)
        try:
            if os.environ.get("HF_HUB_DISABLE_SYMLINKS", "").upper() in places.TRUE:
                raise OSError("links are disabled")
            os.symlink(os.path.relpath(blob, pointer.parent), pointer)
        except FileExistsError:  # the lock does not work on this file system, and another process was faster
            pass
        except OSError:
            os.replace(blob, pointer)


def repos() -> list[Repo]:
    """All repositories in the store."""
    found = []
    for folder in folders(places.models()):
        if match := _FOLDER.fullmatch(folder.name):
            found.append(Repo(f"{match[1]}/{match[2]}", folder))
    return found


def _size(path: Path) -> int | None:
    """Size of a file in bytes, links followed; None where it does not exist."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def folders(folder: Path) -> list[Path]:
    """The subfolders of a folder, without links, by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def files(folder: Path) -> list[Path]:
    """All files in a folder and its subfolders; links to folders are not followed."""
    return [Path(where, name) for where, _, names in os.walk(folder) for name in names]
