"""Downloads a model; size, memory and disk are checked before the first byte of weights is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import BadFileError, LlmlocalError, NotFoundError, ResourceError, UsageError
from ..files.atomic_file import check_absent
from ..gguf import GGUFFile, open_gguf
from ..model_info.arch_value import arch_value
from ..model_info.describe import DEFAULT_CONTEXT
from ..model_info.machine import free_disk, total_memory
from ..model_info.memory import Memory, memory
from ..text import escaped, format_bytes
from . import places
from .download import fetch
from .header import skeleton
from .names import Ref, nearest, parse, suggestion
from .remote import Listing, listing
from .remote_file import PARTIAL, Notify, RemoteFile
from .store import Repo
from .variants import LAST, RANK, Variant, plain_quant, variants

COMFORT = 0.6  # share of the machine's memory that a model may take by default, leaving room for other programs
SPARE = 256 << 20  # bytes of disk that stay free


class PullPlan(NamedTuple):
    """What a pull will do. `why` says why this quantization was chosen, None where the user chose it.

    `memory` is the estimate for a run; `fetch` the bytes to download; `path` where the first part will be;
    `folder` the target outside the store, None for the store.
    """

    ref: Ref
    listing: Listing
    variant: Variant
    others: tuple[Variant, ...]
    why: str | None
    memory: Memory
    total_memory: int
    fetch: int
    free_disk: int
    path: Path
    folder: Path | None

    def check(self) -> None:
        """Raises ResourceError where the download does not fit the disk or the model does not fit the memory."""
        if not self.fetch:
            return
        if self.fetch + SPARE > self.free_disk:
            need, have = format_bytes(self.fetch + SPARE), format_bytes(self.free_disk)
            raise ResourceError(
                f"{self._what} needs {need} of disk, {have} is free", "free some space, or use -y to try anyway"
            )
        if self.memory.total > self.total_memory:
            need, have = format_bytes(self.memory.total), format_bytes(self.total_memory)
            smaller = [v for v in self.others if v.size < self.variant.size and v.quant]
            other = f"choose a smaller one such as {smaller[0].quant}, or " if smaller else ""
            message = f"{self._what} needs {need} of memory with {self.memory.n_ctx:,} tokens, this machine has {have}"
            raise ResourceError(message, f"{other}use -y to download it anyway")

    @property
    def _what(self) -> str:
        return escaped(self.variant.name)


def plan(
    text: str, *, quant: str | None = None, file: str | None = None, revision: str | None = None, to: Path | None = None
) -> PullPlan:
    """Look up MODEL at the hub, choose a quantization, and read the header. `to`: a folder outside the store.

    Raises NotFoundError, NetworkError, BadFileError, UsageError.
    """
    ref, found, chosen = _choices(_reference(text, quant, file, revision))
    first = chosen[0]
    if ref.quant or ref.file or len(chosen) == 1:
        variant, why = first, None
        need = _read(found, variant)
    else:
        variant, need, why = _comfortable(found, chosen)
    repo = Repo.of(ref.repo)
    path = to / _base(variant.files[0]) if to else repo.pointer(found.commit, variant.files[0])
    if to:
        left = sum(item.size for item in variant.files if not (to / _base(item)).exists())
    else:
        left = sum(repo.missing(found.commit, item) for item in variant.files)
    others = tuple(v for v in chosen if v is not variant)
    return PullPlan(
        ref, found, variant, others, why, need, total_memory(), left, free_disk(to or places.models()), path, to
    )


def _choices(ref: Ref) -> tuple[Ref, Listing, list[Variant]]:
    """What is at the hub, and the variants that fit. Raises NotFoundError where there are none."""
    found = listing(ref.repo, ref.revision)
    models = variants(found.files)
    chosen = ref.choose(models)
    if not chosen:
        raise _nothing(ref, models)
    return ref, found, chosen


@contextmanager
def opened_remote(text: str) -> Iterator[GGUFFile]:
    """A model at the hub, opened without downloading its weights. Raises as `plan` does."""
    ref, found, chosen = _choices(_reference(text, None, None, None))
    variant = chosen[0] if ref.quant or ref.file or len(chosen) == 1 else _comfortable(found, chosen)[0]
    with skeleton(found, variant) as path, open_gguf(path) as gguf:
        yield gguf


def pull(plan: PullPlan, notify: Notify, *, force: bool = False) -> Path:
    """Download the files of a plan; returns the path of the first part. Raises as `store.Repo.add` does."""
    if plan.folder is not None:
        return _pull_to(plan.folder, plan, notify, force)
    repo = Repo.of(plan.ref.repo)
    for file in plan.variant.files:
        repo.add(plan.listing.commit, file, plan.listing.source(file), notify, force=force)
    repo.name_revision(plan.listing)
    return plan.path


def _pull_to(folder: Path, plan: PullPlan, notify: Notify, force: bool) -> Path:
    """Download the files into a folder outside the store."""
    from .verify import digest_of

    folder.mkdir(parents=True, exist_ok=True)
    for file in plan.variant.files:
        target = folder / _base(file)
        if target.exists() and not force:
            if target.is_file() and target.stat().st_size == file.size and digest_of(target, file) == file.digest:
                continue
            check_absent(target)
        with Repo.of(plan.ref.repo).lock(file.digest, notify):
            fetch(file, plan.listing.source(file), folder / f".{file.digest}{PARTIAL}", target, notify)
    return plan.path


def _reference(text: str, quant: str | None, file: str | None, revision: str | None) -> Ref:
    """The model at the hub that MODEL and the options name."""
    ref = parse(text)
    if isinstance(ref, Path):
        if ref.exists():
            raise UsageError(f"{escaped(text)} is a local file", "name a model such as qwen3-0.6b or hf:org/repo")
        hint = f"{suggestion(text)} Use hf:org/repo for other repositories" if nearest(text) else suggestion(text)
        raise NotFoundError(f"unknown model {escaped(text)}", hint)
    if revision is not None:
        ref = _with_revision(ref, revision)
    return ref._replace(quant=plain_quant(quant) if quant else ref.quant, file=ref.file if file is None else file)


def _with_revision(ref: Ref, revision: str) -> Ref:
    checked = parse(f"hf:{ref.repo}@{revision}")
    assert isinstance(checked, Ref)
    return ref._replace(revision=checked.revision)


def _nothing(ref: Ref, models: list[Variant]) -> NotFoundError:
    """The error for a repository without a matching model."""
    wanted = ref.quant or ref.file or (ref.entry.file if ref.entry else None)
    if not models:
        return NotFoundError(
            f"{ref.repo} contains no usable GGUF file", "names of repositories with GGUF files often end in -GGUF"
        )
    there = ", ".join(dict.fromkeys(escaped(v.quant or v.name) for v in models))
    return NotFoundError(f"{ref.repo} has no {escaped(wanted or 'such file')}", f"it has {there}")


def _read(found: Listing, variant: Variant) -> Memory:
    """The memory estimate of a run, from the remote header."""
    with skeleton(found, variant) as path, open_gguf(path) as gguf:
        trained = arch_value(gguf.metadata, "context_length") or DEFAULT_CONTEXT
        return memory(gguf.metadata, gguf.tensors, min(trained, DEFAULT_CONTEXT))


def _comfortable(found: Listing, chosen: list[Variant]) -> tuple[Variant, Memory, str]:
    """The best variant that fits within COMFORT of the memory; memory besides weights is alike for all variants."""
    ranked = [v for v in chosen if (v.quant or "").removeprefix("UD-") in RANK]
    ranked = ranked or [v for v in chosen if v.quant in LAST] or chosen
    room, smallest = COMFORT * total_memory(), min(ranked, key=lambda v: v.size)
    refused: LlmlocalError | None = None
    extra = 0
    for variant in [*ranked, smallest]:
        if variant is not smallest and variant.size + extra > room:
            continue
        try:
            need = _read(found, variant)
        except BadFileError as error:  # an unsupported format: another variant may work
            refused = refused or error
            continue
        extra = need.total - need.weights
        if need.total <= room or variant is smallest:
            fits = need.total <= room
            name = variant.quant or escaped(variant.name)
            why = (
                "the best that fits comfortably into"
                if fits
                else "the smallest available, but does not fit comfortably into"
            )
            return variant, need, f"{name} is {why} this machine's memory"
    raise refused or NotFoundError(f"{found.repo} contains no usable GGUF")


def _base(file: RemoteFile) -> str:
    return file.name.rsplit("/", 1)[-1]
