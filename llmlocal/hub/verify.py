"""Whether the files of the store are still what their names say: a blob's name is its digest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadFileError
from ..text import escaped
from .remote_file import Progress, RemoteFile, Tell, hasher
from .safe_names import is_digest
from .store import Held

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """`right` is None where the store does not say what the digest should be (it has no links here)."""

    file: Held
    right: bool | None


def verify(files: list[Held], tell: Tell) -> Iterator[Verdict]:
    """Read every file whole, each blob once, and compare. Raises BadFileError for one that cannot be read."""
    seen: dict[Path, bool | None] = {}
    for file in files:
        if file.blob not in seen:
            digest = file.blob.name
            known = is_digest(digest) and file.blob != file.path
            remote = RemoteFile(file.name, file.size, digest)
            seen[file.blob] = digest_of(file.blob, remote, tell) == digest if known else None
        yield Verdict(file, seen[file.blob])


def digest_of(path: Path, file: RemoteFile, tell: Tell = lambda _: None) -> str:
    """The digest of what is in `path`, of the kind that `file` has."""
    hashed, done = hasher(file), 0
    buffer = memoryview(bytearray(CHUNK))
    try:
        with open(path, "rb", buffering=0) as data:
            while n := data.readinto(buffer):
                hashed.update(buffer[:n])
                done += n
                tell(Progress(file.name, done, file.size, 0))
    except OSError as error:
        raise BadFileError(f"{escaped(str(path))}: cannot be read: {error.strerror}") from None
    return hashed.hexdigest()
