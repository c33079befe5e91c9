"""Pages under mappings: asked for, counted, dropped and read again."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from llmlocal.files.page_cache import give_back
from llmlocal.gguf import pages
from llmlocal.gguf.pages import address_of, large_share, read_again, runs
from llmlocal.quant.machine import MachineMemory
from llmlocal.runtime.kv_cache import KVCache

linux = pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="Linux only")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (1 << 14))  # 4 MiB
    return path


def mapped(path: Path) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def test_the_share_counts_only_the_given_mappings(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    map, smaps = mapped(file), tmp_path / "smaps"
    start = address_of(map)
    region = "{:x}-{:x} r--s 00000000 fe:00 12 /x\nSize: 9 kB\nRss: {} kB\nAnonHugePages: 0 kB\nFilePmdMapped: {} kB\n"
    lines = region.format(start - 4096, start, 4, 4) + region.format(start, start + len(map), 4096, 2048)
    smaps.write_text(lines + "VmFlags: rd mr\n" + region.format(start + len(map), start + 2 * len(map), 8, 8))
    monkeypatch.setattr(pages, "SMAPS", smaps)
    assert large_share([map]) == 0.5
    smaps.write_text("")
    assert large_share([map]) is None
    smaps.unlink()
    assert large_share([map]) is None


def test_spans_that_lie_close_are_dropped_as_one() -> None:
    near, far = pages.NEAR, pages.NEAR + 1
    assert runs([(9, 10), (0, 5), (10 + near, 20 + near), (3, 4)]) == [(0, 20 + near)]
    assert runs([(0, 5), (5 + far, 6 + far)]) == [(0, 5), (5 + far, 6 + far)] and runs([]) == []


@linux
def test_what_was_touched_is_counted(file: Path) -> None:
    map = mapped(file)
    assert large_share([map]) is None
    map[0]
    assert large_share([map]) in (0.0, 1.0)


@linux
@pytest.mark.parametrize(("fast", "share", "expected"), [(1.0, 1.0, True), (1e18, 1.0, False), (1.0, 0.0, False)])
def test_reading_again_ends_where_it_is_slow_or_gains_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, fast: float, share: float, expected: bool
) -> None:
    """The first look finds small pages, the others what pieces that were read again got."""
    looks = iter([0.0, share, share])
    monkeypatch.setattr(pages, "large_share", lambda maps: next(looks))
    monkeypatch.setattr(pages, "WORTHWHILE", 1 << 20)
    monkeypatch.setattr(pages, "PROBE", 1 << 20)
    monkeypatch.setattr(pages, "PIECE", 2 << 20)
    monkeypatch.setattr(pages, "FAST", fast)
    dropped = []
    monkeypatch.setattr(os, "posix_fadvise", lambda handle, start, nbytes, advice: dropped.append((start, nbytes)))
    map = mapped(file)
    assert read_again(file, map) is expected
    steps = [(0, 1 << 20), (0, 2 << 20), (2 << 20, 2 << 20)]
    assert dropped == steps[: 3 if expected else 2 if share else 1]
    assert map[:] == file.read_bytes()


@linux
@pytest.mark.parametrize("share", [1.0, 0.3, None])
def test_large_pages_and_small_files_stay(file: Path, monkeypatch: pytest.MonkeyPatch, share: float | None) -> None:
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: pytest.fail("dropped"))
    assert not read_again(file, mapped(file))
    monkeypatch.setattr(pages, "WORTHWHILE", 1 << 20)
    monkeypatch.setattr(pages, "large_share", lambda maps: share)
    assert not read_again(file, mapped(file))


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no posix_fadvise")
@pytest.mark.parametrize(("available", "drops"), [(7 << 20, 1), (9 << 20, 0)])
def test_only_what_takes_over_half_of_the_memory_is_given_back(
    file: Path, monkeypatch: pytest.MonkeyPatch, available: int, drops: int
) -> None:
    monkeypatch.setattr("llmlocal.files.page_cache.machine_memory", lambda: MachineMemory(available, available))
    dropped = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *given: dropped.append(given[1:]))
    with open(file, "rb") as opened:
        give_back(opened.fileno())
    assert dropped == [(0, 0, os.POSIX_FADV_DONTNEED)] * drops


@linux
def test_a_context_takes_memory_as_it_is_filled() -> None:
    """Keys and values of a sequence lie apart by more than a large page."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    cache, before = KVCache(1 << 15, 4), resident()
    cache.add_layer(8, 64, 64)
    cells = [part for seq in range(4) for part in cache.first_cells(32, seq)]
    for part in cells:
        part[:] = 1
    written = sum(part.nbytes for part in cells)
    assert written < 1 << 20 and resident() - before < 8 << 20
