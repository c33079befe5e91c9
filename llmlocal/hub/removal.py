"""Removes models and leftovers from the store, and only what nothing else refers to.

A blob is deleted when no snapshot of its repository links to it any more, a repository's folder when it is empty. In
our own cache only what carries our marker is deleted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotFoundError, ResourceError, UsageError
from ..files.signature import DIGEST, PROMPT_CACHE, carries
from ..files.temporary import is_temporary
from ..quant.cache_tag import is_tagged, remove_tagged
from ..text import escaped
from . import places
from .catalog import catalog
from .index import StoredModel, installed
from .names import Ref, parse
from .remote_file import PARTIAL, RemoteFile
from .safe_names import is_commit, is_digest
from .store import BLOBS, REFS, SNAPSHOTS, Repo, StoredFile, files, folders, repos
from .variants import Variant

DAY = 86400.0  # partial files of other tools count as abandoned after this time
WEEK = 7 * DAY


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that `prune` would remove: what it is, its path, and the bytes that this frees."""

    what: str
    path: Path
    size: int


def find_models(text: str, *, one: bool = True) -> list[StoredModel]:
    """The models in the store that MODEL names; with `one`, exactly one.

    Raises NotFoundError for none, UsageError for several with `one`, and for a file outside the store.
    """
    ref, models = parse(text), installed()
    if isinstance(ref, Path):
        found = [model for model in models if model.path == ref.absolute()]
        if not found and ref.exists():
            what = "folder" if ref.is_dir() else "file"
            raise UsageError(f"{escaped(text)} is not in the model store", f"delete the {what} yourself")
    else:
        held = [model for model in models if model.repo == ref.repo and _is_meant(ref, model)]
        found = [model for model in held if not model.old] or held
    if not found:
        raise NotFoundError(f"{escaped(text)} is not on this machine", "llmlocal list shows the models that are")
    if one and len(found) > 1:
        raise UsageError(
            f"{escaped(text)} matches {len(found)} models", "name one: " + ", ".join(m.name for m in found)
        )
    return found


def _is_meant(ref: Ref, model: StoredModel) -> bool:
    if ref.revision and not (model.commit.startswith(ref.revision) or ref.revision in model.files[0].refs):
        return False
    variant = Variant(model.quant, tuple(RemoteFile(file.name, file.size, "") for file in model.files))
    return bool(ref.choose([variant]))


def remove(model: StoredModel) -> int:
    """Delete a model's files from the store; returns the bytes freed. Raises ResourceError where that fails."""
    return _drop(Repo.of(model.repo), model.files)


def freed_by(model: StoredModel) -> int:
    """The bytes that `remove` would free: blobs that another snapshot links to do not count."""
    repo = Repo.of(model.repo)
    others = {file.blob for file in repo.stored_files() if file.path not in {f.path for f in model.files}}
    return sum(file.size for file in model.files if file.blob not in others)


def leftovers() -> list[Leftover]:
    """Interrupted downloads, superseded revisions, kernels of other versions, and old caches."""
    found = []
    for repo in repos():
        found += _partials(repo)
        found += [Leftover("old revision", file.path, _blob_size(repo, file)) for file in _superseded(repo)]
    return found + _own()


def prune(items: Iterable[Leftover]) -> int:
    """Remove what `leftovers` found; returns the bytes freed. Raises ResourceError where that fails."""
    freed = 0
    for item in items:
        repo = next((repo for repo in repos() if item.path.is_relative_to(repo.folder)), None)
        if repo and item.path.is_relative_to(repo.folder / SNAPSHOTS):
            freed += _drop(repo, [file for file in repo.stored_files() if file.path == item.path])
            continue
        try:
            remove_tagged(item.path) if item.path.is_dir() else item.path.unlink(missing_ok=True)
            freed += item.size
        except OSError as error:
            raise _refused(item.path, error) from None
        if repo:
            _tidy(repo)
    return freed


def _drop(repo: Repo, gone: Iterable[StoredFile]) -> int:
    """Delete snapshot files, and the blobs that no snapshot links to any more; returns the bytes freed."""
    freed = 0
    gone = list(gone)
    try:
        for file in gone:
            file.path.unlink(missing_ok=True)
            if file.blob == file.path:
                freed += file.size
        named = _named_blobs(repo)
        for blob, size in {file.blob: file.size for file in gone if file.blob != file.path}.items():
            if blob.parent == repo.folder / BLOBS and blob not in named and os.path.lexists(blob):
                freed += 0 if blob.is_symlink() else size  # a link into a store shared by repositories frees nothing
                blob.unlink()
    except OSError as error:
        raise _refused(Path(error.filename or repo.folder), error) from None
    _tidy(repo)
    return freed


def _named_blobs(repo: Repo) -> set[Path]:
    """Every blob that a file of any snapshot links to, GGUF or other."""
    paths = [path for snapshot in folders(repo.folder / SNAPSHOTS) for path in files(snapshot)]
    return {Path(os.path.normpath(path.parent / os.readlink(path))) for path in paths if path.is_symlink()}


def _tidy(repo: Repo) -> None:
    """Remove empty snapshot folders, and the whole repository folder once it holds no snapshot and no blob."""
    for snapshot in folders(repo.folder / SNAPSHOTS):
        for where, _, _ in os.walk(snapshot, topdown=False):
            with suppress(OSError):
                os.rmdir(where)
    there = {snapshot.name for snapshot in folders(repo.folder / SNAPSHOTS)}
    blobs = files(repo.folder / BLOBS)
    if there or blobs or not repo.folder.is_dir():
        return
    for path in files(repo.folder / REFS):
        with suppress(OSError):
            path.unlink()
    for where, _, _ in os.walk(repo.folder, topdown=False):
        with suppress(OSError):
            os.rmdir(where)


def _partials(repo: Repo) -> list[Leftover]:
    """Partial downloads that no running program holds: ours, and other tools' untouched for a day."""
    found = []
    for path in [*files(repo.folder / BLOBS), *files(repo.folder / REFS)]:
        if not (path.name.endswith(".incomplete") or is_temporary(path)) or path.is_symlink():
            continue
        with suppress(OSError):
            state = path.stat()
            ours = path.name.endswith(PARTIAL)
            left = time.time() - state.st_mtime > DAY
            if (ours or left) and not _is_locked(repo, path.name.split(".")[0]):
                found.append(Leftover("interrupted download", path, state.st_size))
    return found


def _is_locked(repo: Repo, digest: str) -> bool:
    """Whether a running program is downloading this blob."""
    from filelock import FileLock, Timeout

    path = places.models() / ".locks" / repo.folder.name / f"{digest}.lock"
    if not is_digest(digest) or not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _superseded(repo: Repo) -> list[StoredFile]:
    """Files of commits without a branch or tag, where a commit that has one contains the same file."""
    held = repo.stored_files()
    current = {file.name for file in held if file.refs}
    pinned = {entry.revision for entry in catalog().entries.values() if is_commit(entry.revision)}
    return [file for file in held if not file.refs and file.name in current and file.commit not in pinned]


def _blob_size(repo: Repo, file: StoredFile) -> int:
    """Bytes freed by deleting this file: 0 where another snapshot shares the blob."""
    return file.size if sum(other.blob == file.blob for other in repo.stored_files()) == 1 else 0


def _own() -> list[Leftover]:
    """Kernels of other versions or settings, temporary headers of a killed process, prompts unused for a week."""
    from ..quant.jit.kept_file import cache_root

    found = []
    for what, root, pattern in (
        ("kernels of another version", cache_root(), "*-*"),
        ("temporary header of a remote model", places.own_cache(), "header-*"),
    ):
        for folder in sorted(root.glob(pattern)):
            with suppress(OSError):
                if is_tagged(folder) and time.time() - folder.stat().st_mtime > DAY:
                    size = sum(path.stat().st_size for path in files(folder))
                    found.append(Leftover(what, folder, size))
    for what, name, signature in (("cached prompt", "prefixes", PROMPT_CACHE), ("kept checksum", "digests", DIGEST)):
        for path in sorted(cache_root().with_name(name).glob("*")):
            with suppress(OSError):
                at = path.lstat()
                if carries(path, signature) and time.time() - at.st_mtime > WEEK:
                    found.append(Leftover(f"{what} unused for a week", path, at.st_size))
    return found


def _refused(path: Path, error: OSError) -> ResourceError:
    return ResourceError(f"{escaped(str(path))}: cannot be removed: {error.strerror}")
