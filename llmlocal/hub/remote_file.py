"""A file of a repository, and the progress of its download. Imports nothing heavy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

PARTIAL = ".llmlocal.incomplete"  # `prune`, and other tools, recognize this suffix


class RemoteFile(NamedTuple):
    """A file of a repository: name, size in bytes, and hex digest: sha256 (64 digits) or git's blob sha1 (40)."""

    name: str
    size: int
    digest: str


class DownloadProgress(NamedTuple):
    """`done` of `total` bytes of `name` are on disk or verified; `fetched` were downloaded in this run."""

    name: str
    done: int
    total: int
    fetched: int


DownloadNotice = DownloadProgress | str  # a string is a message for the user
Notify = Callable[[DownloadNotice], None]


def hasher(file: RemoteFile) -> hashlib._Hash:
    """A hash object for the kind of digest that `file` has."""
    if len(file.digest) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
