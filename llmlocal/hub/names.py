"""Parses MODEL and finds the file on disk that it names; never uses the network.

qwen3-0.6b, qwen3-0.6b:Q8_0                     a name from the catalog, or an alias
hf:org/repo[:QUANT|/file.gguf][@revision]       any repository
folder/model.gguf                               a file; of a split model, the first part
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from ..errors import NotFoundError, UsageError
from ..files.near_files import did_you_mean
from ..text import escaped
from .catalog import QUANT_PLACE, REPO, CatalogEntry, catalog
from .remote_file import RemoteFile
from .safe_names import is_commit, is_revision
from .store import Repo, StoredFile
from .variants import Variant, plain_quant, variants

PREFIX = "hf:"
_HUB = re.compile(r"hf:([^/:@]+/[^/:@]+)(?:/([^@:]+)|:([^@/:]+))?(?:@(.+))?")
_NAMED = re.compile(r"([A-Za-z0-9][\w.-]*)(?::([\w-]+))?", re.ASCII)
SHORT_COMMIT = 7  # shortest abbreviation of a commit
SIMILAR = 0.6  # from 0 to 1: how much a name must resemble another one to be offered
RECENT = 60.0  # seconds before the time of last use is updated again


class Ref(NamedTuple):
    """A parsed MODEL at the hub. `file` may be a pattern, `quant` is as in `variants`, `entry` is the catalog's."""

    text: str
    repo: str
    quant: str | None = None
    file: str | None = None
    revision: str | None = None
    entry: CatalogEntry | None = None

    def choose(self, found: Sequence[Variant]) -> list[Variant]:
        """The variants of a repository that match, best first."""
        wanted = [v for v in found if self.quant is None or v.quant in (self.quant, f"UD-{self.quant}")]
        wanted.sort(
            key=lambda v: self.quant is not None and v.quant != self.quant
        )  # unsloth's UD- variants come second
        if self.file is not None:
            return [v for v in wanted if any(fits(file.name, self.file) for file in v.files)]
        if self.entry and self.entry.file:
            return [v for v in wanted if fits(v.name, self.entry.file.replace(QUANT_PLACE, "*"))]
        return wanted


def parse(text: str) -> Ref | Path:
    """Parse MODEL: a model at the hub, or a path. Raises UsageError for an invalid hf: name."""
    return _parse(text, 4)


def _parse(text: str, depth: int) -> Ref | Path:
    if text.startswith(PREFIX):
        return _of_hub(text)
    match = _NAMED.fullmatch(text)
    if not match or os.path.isfile(text):
        return Path(text)
    known, name = catalog(), match[1].lower()
    if entry := known.entries.get(name):
        return Ref(text, entry.repo, _quant(match[2]), None, entry.revision, entry)
    if name not in known.aliases or not depth:
        return Path(text)
    meant = _parse(known.aliases[name], depth - 1)
    return meant._replace(text=text, quant=_quant(match[2]) or meant.quant) if isinstance(meant, Ref) else meant


def _of_hub(text: str) -> Ref:
    match = _HUB.fullmatch(text)
    if not match or not REPO.fullmatch(match[1]):
        raise UsageError(
            f"invalid model name {escaped(text)}", "use hf:org/repo, hf:org/repo:Q4_K_M or hf:org/repo/file.gguf"
        )
    repo, file, quant, revision = match.groups()
    if revision is not None and not (is_revision(revision) or is_commit(revision)):
        raise UsageError(f"invalid revision {escaped(revision)}", "use a branch, a tag or a commit")
    return Ref(text, repo, _quant(quant), file, revision)


def _quant(text: str | None) -> str | None:
    return plain_quant(text) if text else None


def find_local(text: str) -> Path | None:
    """The file on disk that MODEL names, None where it is not on this machine; a path is returned as it is.

    Updates the time of last use of a file in the store.
    """
    meant = parse(text)
    if isinstance(meant, Path):
        return meant if meant.exists() or not _NAMED.fullmatch(text) else None
    found = find_stored(meant)
    if found is None:
        return None
    _note_use(found)
    return found.path


def find_stored(ref: Ref) -> StoredFile | None:
    """The first part of a complete model in the store; of several quantizations, the best."""
    repo = Repo.of(ref.repo)
    held = repo.stored_files()
    named = repo.refs().get(ref.revision or "main")
    commits = dict.fromkeys([named] if named else [])
    if ref.revision is None:
        commits |= dict.fromkeys(file.commit for file in held)
    elif len(ref.revision) >= SHORT_COMMIT:
        commits |= dict.fromkeys(file.commit for file in held if file.commit.startswith(ref.revision))
    for commit in commits:
        there = {file.name: file for file in held if file.commit == commit}
        models = variants(RemoteFile(file.name, file.size, "") for file in there.values())
        if chosen := ref.choose(models):
            return there[chosen[0].name]
    return None


def model_not_found(text: str) -> NotFoundError:
    """The error for a MODEL that was not found, with the command to download it or the nearest names."""
    meant = parse(text)
    if isinstance(meant, Ref):
        message = f"{escaped(text)} is not on this machine"
        return NotFoundError(message, f"llmlocal pull {escaped(text)}")
    if not _NAMED.fullmatch(text):
        return NotFoundError(f"{escaped(text)}: no such file", did_you_mean(text))
    return NotFoundError(f"{escaped(text)}: no such file or model", did_you_mean(text) or suggestion(text))


def suggestion(text: str) -> str:
    """The hint for an unknown name: those that are near, otherwise where all are listed."""
    close = nearest(text)
    return f"did you mean {', '.join(close)}?" if close else "llmlocal list --available shows all names"


def catalog_names() -> list[str]:
    """All names and aliases that a model may be called by."""
    return catalog().names()


def nearest(text: str, count: int = 3) -> list[str]:
    """The catalog names that are similar to `text`, at most `count`, the most similar first."""
    from difflib import get_close_matches

    return get_close_matches(text.lower().partition(":")[0], catalog().names(), count, SIMILAR)


def _note_use(file: StoredFile) -> None:
    """Set the access time, which the hub's own tool shows: mapping a file does not update it on many systems."""
    now = time.time()
    with suppress(OSError):
        state = os.stat(file.blob)
        if now - state.st_atime > RECENT:
            os.utime(file.blob, (now, state.st_mtime))


def fits(name: str, pattern: str) -> bool:
    """Whether a file's name in the repository, with or without its folder, matches a pattern, ignoring case."""
    name, pattern = name.lower(), pattern.lower()
    return fnmatchcase(name, pattern) or fnmatchcase(name.rsplit("/", 1)[-1], pattern)
