"""A file is there whole or not at all."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from llmlocal.errors import NotFoundError, ResourceError, UsageError
from llmlocal.files.atomic_file import AtomicFile, atomic_file, check_output
from llmlocal.files.temporary import sweep


def test_appears_at_the_end(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "x") as out:
        out.write(b"new")
        assert not (tmp_path / "x").exists()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"new"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_nothing_is_left_of_a_failure(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(error), atomic_file(tmp_path / "x", force=True) as out:
        out.write(b"new")
        raise error
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("moment", ["llmlocal.files.atomic_file.hold", "os.replace"])
def test_other_writers_do_not_sweep_it_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Neither between its creation and its lock nor between its last byte and its name, where `sweep` comes once."""
    module, name = moment.rsplit(".", 1)
    real, swept = getattr(import_module(module), name), []

    def sweep_before(*arguments: Any) -> Any:
        if not swept:
            swept.append(True)
            sweep(tmp_path)
        return real(*arguments)

    monkeypatch.setattr(moment, sweep_before)
    with atomic_file(tmp_path / "x") as out:
        out.write(b"new")
    assert swept and [p.name for p in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_bytes() == b"new"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ResourceError, match="disk is full"), atomic_file(tmp_path / "x") as out:
        out.write(b"new")
    assert not list(tmp_path.iterdir())


def test_existing_file_needs_force(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(UsageError, match="exists"), atomic_file(tmp_path / "x"):
        pass
    with pytest.raises(NotFoundError, match="no such folder"), atomic_file(tmp_path / "none" / "x"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="links and devices of POSIX")
def test_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "x")
    with atomic_file(tmp_path / "link") as out:
        out.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "x").read_bytes() == b"new"
    with atomic_file(Path(os.devnull)) as out:
        out.write(b"new")
    assert not Path(os.devnull).is_file()


def test_where_a_model_may_be_written(tmp_path: Path) -> None:
    """Never over its source or a file of its folder, over another file with force only."""
    source, folder, other = tmp_path / "a.gguf", tmp_path / "folder", tmp_path / "b.gguf"
    folder.mkdir()
    for path in (source, other, folder / "weights.safetensors", folder / "old.gguf"):
        path.write_bytes(b"x")
    (tmp_path / "link.gguf").hardlink_to(source)
    (tmp_path / "soft.gguf").symlink_to(source)
    (tmp_path / "elsewhere.gguf").hardlink_to(folder / "weights.safetensors")
    refused = [
        (source, source, "would be overwritten"),
        (tmp_path / "link.gguf", source, "would be overwritten"),
        (tmp_path / "soft.gguf", source, "would be overwritten"),
        (tmp_path / "elsewhere.gguf", folder, "a file of"),
        (folder / "weights.safetensors", folder, "a file of"),
        (tmp_path, source, "is a folder"),
    ]
    for out, of, message in refused:
        with pytest.raises(UsageError, match=message):
            check_output(out, of, force=True)
    with pytest.raises(UsageError, match="would be overwritten"):
        check_output(other, source, other, force=True)
    with pytest.raises(UsageError, match=r"b\.gguf exists"):
        check_output(other, source, force=False)
    check_output(other, source, force=True)
    check_output(folder / "old.gguf", folder, force=True)
    check_output(tmp_path / "new.gguf", source, force=False)
    check_output(source, source, force=False, in_place=True)


@pytest.mark.skipif(os.name == "nt", reason="devices of POSIX")
def test_no_model_becomes_a_device(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        check_output(Path(os.devnull), tmp_path / "a.gguf", force=True)


def test_too_little_space_is_found_before_writing(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="needs"), AtomicFile(tmp_path / "x", 1 << 60):
        pass
    assert not list(tmp_path.iterdir())
