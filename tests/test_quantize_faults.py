"""Whatever fails, and whenever: the old file is intact, no part of a new one has its name, nothing is left behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from quantized_files import formats, write_small
from recipe_models import Small

SMALL = Small("llama", 1, 64, 64)
FAULTY = Path(__file__).parent / "faulty_disk.py"


def run(fault: str, step: int, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command whose write, fsync or rename number `step` does what `fault` says."""
    command = [sys.executable, FAULTY, fault, str(step), *words]
    return forked.run(command, text=True, env=os.environ | {"LLMLOCAL_DEBUG": ""})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.gguf"
    write_small(path, SMALL)
    return path


def steps(source: Path, *words: str | Path) -> int:
    """How often the disk is asked for something, when nothing fails."""
    done = run("kill", 0, *words)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


@pytest.mark.parametrize("fault", ["kill", "ENOSPC", pytest.param("EIO", marks=pytest.mark.slow)])
def test_every_write_fsync_and_rename(fault: str, source: Path, tmp_path: Path) -> None:
    out, old = tmp_path / "out.gguf", b"an older model"
    steps(source, "quantize", source, out, "Q8_0", "-q")  # may compile kernels, whose files are steps, too
    out.unlink()
    count = steps(source, "quantize", source, out, "Q8_0", "-q")
    whole = out.read_bytes()
    assert count > 10
    for step in sorted({1, 2, 3, count // 3, count // 2, *range(count - 3, count + 1)}):
        out.write_bytes(old)
        done = run(fault, step, "quantize", source, out, "Q8_0", "--force", "-q")
        assert out.read_bytes() in (old, whole)
        if fault != "kill":
            last = step == count  # the folder's own fsync: the new name stands already
            assert done.returncode == 6 and (last or out.read_bytes() == old), done.stderr
            assert "Traceback" not in done.stderr and str(out) in done.stderr
            assert {p.name for p in tmp_path.iterdir()} == {"source.gguf", "out.gguf"}
        else:
            assert done.returncode == 99
    assert run("kill", 0, "quantize", source, out, "Q8_0", "--force", "-q").returncode == 0
    assert {p.name for p in tmp_path.iterdir()} == {"source.gguf", "out.gguf"}  # what was killed is swept
    assert out.read_bytes() == whole


@pytest.mark.parametrize("fault", ["kill", "ENOSPC"])
def test_in_place_changes_keep_the_file(fault: str, source: Path, tmp_path: Path) -> None:
    words = ("gguf", "set", source, "general.name", "new", "--in-place", "-q")
    old = source.read_bytes()
    count = steps(source, *words)
    new = source.read_bytes()
    for step in {1, count // 2, count - 1, count}:
        source.write_bytes(old)
        run(fault, step, *words)
        assert source.read_bytes() in (old, new)


@pytest.mark.parametrize("step", [3, 12, 25])
def test_parts_that_are_not_all_there_are_no_model(step: int, source: Path, tmp_path: Path) -> None:
    """The first part comes last, so whoever is killed leaves nothing that can be opened."""
    out = tmp_path / "cut.gguf"
    assert run("kill", step, "quantize", source, out, "F16", "--split-size", "8K", "-q").returncode == 99
    first = sorted(tmp_path.glob("cut-00001-*"))
    assert not first or formats(first[0])


@pytest.mark.parametrize("words", [("gguf", "split"), ("quantize",)], ids=["split", "quantize"])
def test_parts_appear_together_or_not_at_all(words: tuple[str, ...], source: Path, tmp_path: Path) -> None:
    """On a full disk, whichever write, fsync or rename it stops, no part is left."""
    split = (*words, source, "8K", "-o", tmp_path / "cut", "-q")
    quantize = (*words, source, tmp_path / "cut.gguf", "F16", "--split-size", "8K", "-q")
    command = split if words[0] == "gguf" else quantize
    steps(source, *command)  # may compile kernels, whose files are steps, too
    for path in tmp_path.glob("cut-*"):
        path.unlink()
    count = steps(source, *command)
    parts = sorted(tmp_path.glob("cut-*"))
    assert len(parts) > 3
    for path in parts:
        path.unlink()
    for step in (count // 3, count - 2 * len(parts), count - 3):  # a write, the first rename, the last but one
        done = run("ENOSPC", step, *command)
        assert done.returncode == 6 and "Traceback" not in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["source.gguf"]


def test_a_writer_at_work_is_not_swept(source: Path, tmp_path: Path) -> None:
    from llmlocal.files.temporary import hold, name_beside, sweep

    live, dead = name_beside(tmp_path / "x"), name_beside(tmp_path / "x")
    dead.write_bytes(b"")
    other = tmp_path / ".llmlocal-notes.part"
    other.write_bytes(b"")
    with live.open("wb") as file:
        assert hold(file, live)
        sweep(tmp_path)
        assert live.exists() and other.exists() and not dead.exists()


def test_an_unreadable_source(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmlocal.cli.main import main

    real = open

    def refuse(path: object, *arguments: object, **more: object) -> object:
        if str(path) == str(source):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", refuse)
    assert main(["quantize", str(source), str(tmp_path / "out.gguf"), "Q8_0"]) == 5
    assert not (tmp_path / "out.gguf").exists()
