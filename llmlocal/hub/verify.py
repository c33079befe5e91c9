"""Verifies checksums of files in the store: a blob's name is its digest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadFileError, UsageError
from ..text import escaped
from .index import installed
from .names import parse
from .remote_file import DownloadProgress, Notify, RemoteFile, hasher
from .safe_names import is_digest
from .store import StoredFile

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """The result for a file. `matches` is None where the expected digest is unknown: a store without links."""

    file: StoredFile
    matches: bool | None


def outside_store(text: str) -> Path | None:
    """The file that MODEL names, where it is not one of the store, whose SHA-256 is known; else None.

    Raises UsageError for what is no file.
    """
    ref = parse(text)
    if isinstance(ref, Path) and ref.is_dir():
        raise UsageError(
            f"{escaped(text)} is a folder, not a GGUF file", "llmlocal show FOLDER tells whether it is whole"
        )
    if not isinstance(ref, Path) or not ref.exists():
        return None
    if not ref.is_file():
        raise UsageError(f"{escaped(text)} is not a regular file")
    held = {file.path for model in installed(facts=False) for file in model.files}
    return None if ref.absolute() in held else ref


def verify(files: list[StoredFile], notify: Notify) -> Iterator[VerifiedFile]:
    """Hash every file, each blob once, and compare digests. Raises BadFileError for an unreadable file."""
    seen: dict[Path, bool | None] = {}
    for file in files:
        if file.blob not in seen:
            digest = file.blob.name
            known = is_digest(digest) and file.blob != file.path
            remote = RemoteFile(file.name, file.size, digest)
            seen[file.blob] = digest_of(file.blob, remote, notify) == digest if known else None
        yield VerifiedFile(file, seen[file.blob])


def digest_of(path: Path, file: RemoteFile, notify: Notify = lambda _: None) -> str:
    """The hex digest of the content of `path`, of the same kind as `file.digest`. Raises BadFileError."""
    hashed, done = hasher(file), 0
    buffer = memoryview(bytearray(CHUNK))
    try:
        with open(path, "rb", buffering=0) as data:
            while n := data.readinto(buffer):
                hashed.update(buffer[:n])
                done += n
                notify(DownloadProgress(file.name, done, file.size, 0))
    except OSError as error:
        raise BadFileError(f"{escaped(str(path))}: cannot be read: {error.strerror}") from None
    return hashed.hexdigest()
