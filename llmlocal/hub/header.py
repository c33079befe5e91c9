"""The GGUF header of a remote model as a local sparse file: header bytes by range requests, a hole for the weights.

All code that reads GGUF files can so inspect a remote model before any download: shapes, template, memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import BadFileError, ResourceError
from ..gguf.reader import header_size
from ..quant.cache_tag import tag
from ..text import escaped
from . import places
from .download import DownloadSource
from .remote import Listing
from .remote_file import RemoteFile
from .variants import Variant

FIRST, MOST = 1 << 20, 256 << 20  # bytes: the first request, and the largest header accepted


@contextmanager
def skeleton(listing: Listing, variant: Variant) -> Iterator[Path]:
    """Temporary sparse files of a model, all parts, with headers but without weights; yields the first one's path.

    They are deleted when the block ends. Raises NetworkError, NotFoundError, BadFileError, ResourceError.
    """
    cache = places.own_cache()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix="header-", dir=cache, ignore_cleanup_errors=True)
        tag(Path(folder.name))
    except OSError as error:
        raise ResourceError(f"{escaped(str(cache))}: cannot be written: {error.strerror}") from None
    with folder as name:
        paths = []
        for file in variant.files:
            paths.append(Path(name, file.name.rsplit("/", 1)[-1]))
            _write(paths[-1], header(listing.source(file), file), file.size)
        yield paths[0]


def header(source: DownloadSource, file: RemoteFile) -> bytes:
    """The bytes before a file's tensor data. Raises BadFileError for an invalid GGUF file."""
    head, want = b"", FIRST
    while True:
        asked = min(want, file.size) - len(head)
        more = source.read(len(head), asked)
        head += more
        try:
            end = header_size(head, file.size)
        except BadFileError as error:
            raise BadFileError(f"{escaped(file.name)}: {error}", "choose another file or repository") from None
        if end is not None:
            return head[:end]
        if len(more) < asked or want >= min(MOST, file.size):
            raise BadFileError(f"{escaped(file.name)}: the header does not end within {len(head)} bytes")
        want *= 2


def _write(path: Path, head: bytes, size: int) -> None:
    """Write the header, then extend to `size`: a hole, which takes no disk space on most systems."""
    try:
        with open(path, "xb") as out:
            out.write(head)
            out.truncate(size)
    except OSError as error:
        raise ResourceError(f"{escaped(str(path))}: cannot be written: {error.strerror}") from None
