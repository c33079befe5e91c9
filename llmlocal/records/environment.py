"""What an answer depends on besides its record: versions, the CPU's instruction set, the model's files."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import __version__
from ..errors import BadFileError
from ..files.content_digest import content_digest
from ..gguf import GGUFFile
from ..quant.jit.cpu import target
from ..text import escaped

LIBRARIES = ("numpy", "numba", "llvmlite")
WORDS = {"isa": "the instruction set", "cpu": "the CPU that kernels are compiled for"}


def environment() -> dict[str, str]:
    """Versions and the CPU, by name."""
    from importlib.metadata import version  # 20 ms, which an answer without a record does not need

    versions = {"llmlocal": __version__, "python": platform.python_version()}
    libraries = {name: version(name) for name in LIBRARIES}
    return {**versions, **libraries, "isa": target().isa, "cpu": target().cpu}


def model_files(gguf: GGUFFile) -> list[dict[str, Any]]:
    """Name, size in bytes and SHA-256 of a model's file, or of all its parts.

    Raises BadFileError for a file that has been changed since it was opened.
    """
    found = []
    for path, state, data in gguf.files():
        digest = content_digest(data, path, state)
        if digest is None:
            raise BadFileError(f"{escaped(str(path))} has been changed since it was opened")
        found.append({"name": path.name, "bytes": state.st_size, "sha256": digest})
    return found


def differences(
    recorded: Mapping[str, str],
    files: Sequence[Mapping[str, Any]],
    now: Mapping[str, str],
    files_now: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """What is not as it was recorded, in words."""
    digests, digests_now = ([file["sha256"] for file in some] for some in (files, files_now))
    if digests != digests_now:
        first, other = ((some[0] if some else "none")[:12] for some in (digests_now, digests))
        yield f"the model file is another one: SHA-256 {first}..., recorded {other}..."
    for name, value in now.items():
        if recorded.get(name) != value:
            yield f"{WORDS.get(name, name)} is {value}, recorded {escaped(str(recorded.get(name)))[:64]}"
