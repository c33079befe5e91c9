"""The cache of compiled kernels: quick when warm, right when damaged, never trusted too far."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llmlocal.ops.gather_rows import gather_rows
from llmlocal.ops.kv import find
from llmlocal.quant import cache_tag
from llmlocal.quant.jit import cache, cpu, kept_file
from llmlocal.quant.jit.kernel import Kernel
from llmlocal.quant.jit.lock import alone

SELECT = """
import json, sys
import numpy as np
from naive import number, run
from llmlocal.ops.gather_rows import gather_rows
from llmlocal.quant.jit import linker
told = []
linker.listeners.append(lambda progress: told.append(progress.kernel))
x, rows, out = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([3, 1], np.int64), np.empty((2, 3), np.float32)
run(gather_rows, outputs=number(2), rows=rows, x=x, out=out, width=3)
print(json.dumps({"out": out.tolist(), "numba": "numba" in sys.modules, "told": told}))
"""
COMPILED = {"out": [[9, 10, 11], [3, 4, 5]], "numba": True, "told": ["gather_rows"]}
LOADED = COMPILED | {"numba": False, "told": []}


def start(cache: Path, **env: str) -> subprocess.Popen[str]:
    """A process of its own that runs a kernel."""
    return subprocess.Popen(
        [sys.executable, "-c", SELECT],
        cwd=Path(__file__).parent,
        env=os.environ | {"LLMLOCAL_CACHE": str(cache)} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    result: dict[str, Any] = json.loads(out)
    return result


def objects(cache: Path) -> list[Path]:
    return sorted(cache.rglob("gather_rows*"))


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with one compiled kernel."""
    cache = tmp_path_factory.mktemp("cache")
    assert finish(start(cache)) == COMPILED
    return cache


def test_second_process_loads_what_the_first_compiled_without_numba(warm: Path) -> None:
    assert finish(start(warm)) == LOADED


def test_damaged_object_is_compiled_again(warm: Path) -> None:
    (path,) = objects(warm)
    whole = path.read_bytes()
    flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
    assert kept_file.read(path) == whole[32:]  # its sha256 stands before it
    for damaged in (whole[:-1], b"", b"\x7fELF" * 99, flipped):
        path.write_bytes(damaged)
        assert kept_file.read(path) is None
    assert finish(start(warm)) == COMPILED
    assert finish(start(warm)) == LOADED


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_folder_is_private_and_holds_nothing_but_objects(warm: Path) -> None:
    (path,) = objects(warm)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(path.parent.iterdir()) == [path.parent / cache_tag.NAME, path]


def test_of_processes_that_race_on_a_cold_cache_one_compiles(tmp_path: Path) -> None:
    racers = [start(tmp_path) for _ in range(4)]
    assert sorted((finish(p) for p in racers), key=str) == sorted([COMPILED, LOADED, LOADED, LOADED], key=str)
    assert len(objects(tmp_path)) == 1


HOLD = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from llmlocal.quant.jit.lock import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


def test_a_lock_outlives_neither_its_holder_nor_the_patience_of_others(tmp_path: Path) -> None:
    path, lock = tmp_path / "kernel.o", tmp_path / "kernel.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with alone(path, patience=0.2):
            assert lock.exists()
        assert lock.exists()  # it is still the holder's
        holder.kill()
    with alone(path, patience=1000):
        assert lock.exists()
    assert not lock.exists()


def test_without_a_folder_there_is_no_lock(tmp_path: Path) -> None:
    with alone(tmp_path / "missing" / "kernel.o"):
        assert list(tmp_path.iterdir()) == []


def test_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert finish(start(blocked / "cache")) == COMPILED


def test_instruction_set_can_be_chosen(tmp_path: Path) -> None:
    assert finish(start(tmp_path, LLMLOCAL_ISA="generic")) == COMPILED
    assert objects(tmp_path)[0].parent.name.startswith("generic-")


@pytest.mark.parametrize("isa", ["avx1024", "neon", "AVX2", "../avx2"])
def test_unknown_instruction_set_is_refused(isa: str, tmp_path: Path) -> None:
    with pytest.raises(cpu.InstructionSetError, match=r"LLMLOCAL_ISA=.*: this CPU offers .*generic"):
        cpu.target(isa)
    process = start(tmp_path, LLMLOCAL_ISA=isa)
    assert f"LLMLOCAL_ISA={isa}: this CPU offers" in process.communicate(timeout=60)[1]
    assert process.returncode == 1 and not list(tmp_path.iterdir())


def test_generic_is_offered_everywhere_and_the_best_comes_first() -> None:
    assert cpu.offered()[-1] == "generic"
    assert cpu.target("generic").features == "" or sys.platform != "linux"


ROOM = "llmlocal.ops"


def fingerprint() -> str:
    return str(cache.fingerprint.__wrapped__(cpu.target("generic"), ROOM))


def test_fingerprint_covers_every_source_and_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    for i, path in enumerate(cache.sources(ROOM)):
        copies.append(tmp_path / f"{i}.py")
        copies[-1].write_bytes(path.read_bytes())
    before = fingerprint()
    monkeypatch.setattr(cache, "sources", lambda room: iter(copies))
    assert fingerprint() == before
    for copy in copies:
        text = copy.read_bytes()
        copy.write_bytes(text + b"#")
        assert fingerprint() != before
        copy.write_bytes(text)
    real = cache.version_file
    for package in ("numba", "llvmlite"):
        other = tmp_path / package
        other.write_bytes(cache.version_file(package).read_bytes() + b"#")
        with monkeypatch.context() as patch:
            patch.setattr(cache, "version_file", lambda name, p=package, o=other: o if name == p else real(name))
            assert fingerprint() != before


def test_sources_are_all_files_that_kernels_are_made_of() -> None:
    root = Path(__file__).parents[1]
    quant = set((root / "quant").rglob("*.py"))
    assert {path.resolve() for path in cache.sources("llmlocal.quant")} == quant
    found = {path.resolve() for path in cache.sources(ROOM)}
    assert found == quant | set((root / "llmlocal" / "ops").rglob("*.py"))


def test_a_kernel_is_keyed_by_the_room_that_it_is_built_in() -> None:
    from llmlocal.ops.kv.kv_type import KV_TYPES
    from llmlocal.ops.kv.store import kv_store
    from llmlocal.quant.format import BY_NAME
    from llmlocal.quant.formats import load_all
    from llmlocal.quant.kernels.matmul import matmul

    load_all()
    find("f16")
    assert cache.room(gather_rows) == cache.room(kv_store(KV_TYPES["f16"])) == ROOM
    assert cache.room(matmul(BY_NAME["Q4_0"])) == "llmlocal.quant"
    own = Kernel("own", (), lambda v: lambda counter, ith, nth: None)
    assert {*cache.sources(cache.room(own))} == {*cache.sources("llmlocal.quant"), Path(__file__)}


def test_folders_of_other_sources_go_when_long_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path))
    root = tmp_path / "kernels"
    old, recent, foreign, other_tag, link = (root / f"generic-{x}" for x in ("old", "recent", "foreign", "tag", "link"))
    for folder in (old, recent, foreign, other_tag):
        folder.mkdir(parents=True)
        (folder / "kernel.o").write_bytes(b"code")
    for folder in (old, recent):
        cache_tag.tag(folder)
    (other_tag / cache_tag.NAME).write_bytes(cache_tag.CONTENT.splitlines()[0])  # as other programs mark theirs
    link.symlink_to(recent)
    for path in (old, foreign, other_tag):
        os.utime(path, (0, 0))
    os.utime(link, (0, 0), follow_symlinks=False)
    os.utime(recent, (time.time() - 3600,) * 2)
    folder = cache.cache_folder.__wrapped__(cpu.target("generic"), ROOM)
    assert {path for path in root.iterdir() if path.name != "cpu"} == {folder, recent, foreign, other_tag, link}


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("why", ["full", "read-only"])
def test_a_cache_that_takes_nothing_new_is_read(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a disk that is full, or the layer of a container: what is there is loaded, the rest is this run's alone."""
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "cache_folder", cache.cache_folder.__wrapped__)
    where = cpu.target("generic")
    there = cache.object_path("there.o", where, ROOM)
    kept_file.keep(there, b"code")
    assert there.is_relative_to(tmp_path) and cache.why_not_kept() is None
    if why == "full":
        monkeypatch.setattr(os, "posix_fallocate", no_space, raising=False)
        said = f"the disk of {tmp_path / 'kernels'} is full"
    else:
        monkeypatch.setattr(os, "access", lambda path, _: not Path(path).is_relative_to(tmp_path))
        said = f"{tmp_path / 'kernels'} cannot be written"
    assert cache.object_path("there.o", where, ROOM) == there and cache.why_not_kept() == said
    new = cache.object_path("new.o", where, ROOM)
    assert new.parent.is_dir() and not new.is_relative_to(tmp_path)


def test_only_the_files_of_a_marked_folder_go(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    cache_tag.tag(folder)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "letter").write_text("dear")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "file.o").write_text("code")
    cache_tag.remove_tagged(folder)
    assert sorted(path.name for path in folder.iterdir()) == [cache_tag.NAME, "below"]
    (folder / "below").rmdir()
    cache_tag.remove_tagged(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    cache_tag.remove_tagged(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "letter").read_text() == "dear"


def test_argument_blocks_are_checked_by_name() -> None:
    assert gather_rows.block(outputs=1, rows=2, x=3, out=4, width=5) == [0, 1, 2, 3, 4, 5]
    assert gather_rows.block(outputs=1, rows=2, x=3, out=4, width=1.0)[-1] == 0x3F800000
    with pytest.raises(TypeError, match="gather_rows takes"):
        gather_rows.block(outputs=1, rows=2, x=3, out=4)


GIVEN_UP = """
import sys, threading
from pathlib import Path
from types import SimpleNamespace
from llmlocal.ops.attention import attention
from llmlocal.ops.elementwise import add
from llmlocal.ops.gather_rows import gather_rows
from llmlocal.ops.kv import find
from llmlocal.quant.jit.kept_file import cache_root
from llmlocal.quant.jit.parallel_compile import Compilation

def files():
    return sorted(path.name for path in cache_root().rglob("*.o"))

stopped = Compilation([attention(find("f16")), add], 1)
while not stopped.progress().kernel:
    stopped.wait(0.1)
print(stopped.total, stopped.progress().kernel, stopped.progress().seconds_left > 0)
stopped.stop()
stopped.wait()
print(stopped.ended, stopped.complete, files())

whole = Compilation([gather_rows, add, add], 2)
whole.wait()
print(whole.complete, whole.progress().done, whole.total, files(), "numba" in sys.modules)

other = threading.Event()
threading.Thread(target=other.wait).start()
unsafe = Compilation([attention(find("f16"))], 2)
print(unsafe.total, unsafe.ended, unsafe.complete, unsafe.wait())
other.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kernels are compiled in this process then")
def test_compiling_in_other_processes_can_be_given_up(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", GIVEN_UP],
        cwd=Path(__file__).parent,
        env=os.environ | {"LLMLOCAL_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "2 attention_f16 True",
        "True False []",
        "True 2 2 ['add.o', 'gather_rows.o'] False",
        "0 True False True",
    ]
