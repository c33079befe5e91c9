"""A file of a repository and what is told while it comes: words that all of the hub shares. Imports nothing heavy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

PARTIAL = ".llmlocal.incomplete"  # `prune` of this tool and of others knows the end of the name


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository: its name there, bytes, and digest in hex: 64 digits sha256, 40 git's sha1 of a blob."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """`done` of `total` bytes of `name` are on disk; `fetched` of them came over the network in this run."""

    name: str
    done: int
    total: int
    fetched: int


DownloadNotice = DownloadProgress | str  # a string is a note for the user
Notify = Callable[[DownloadNotice], None]


def hasher(file: RemoteFile) -> hashlib._Hash:
    """What computes the digest of a file: feed it all bytes."""
    if len(file.digest) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
