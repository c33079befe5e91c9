"""Pulls in processes of their own: interrupted, killed, several at once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fake_hub as f
import forked
import pytest
from fake_hub import FakeHub
from hubs import REPO, files_below, model
from pulled import DATA, MODEL, NAME, pointer, whole

from llmlocal.hub import pull
from llmlocal.hub.remote_file import DownloadProgress


def test_interrupted_pull_goes_on(hub: FakeHub, store: Path) -> None:
    import signal

    hub.add(REPO, {NAME: DATA})
    hub.faults = [None, f.slow(100, 0.1)]
    process = puller("-y")
    blobs = store / "models--org--tiny-GGUF" / "blobs"
    while not any(path.stat().st_size for path in blobs.glob("*.incomplete")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert err.endswith(b"interrupted; the part that was downloaded is kept, and the same command continues it\n")
    process = puller("-q")
    assert process.communicate(timeout=30)[0] == f"{pointer(store)}\n".encode()
    assert hub.asked_for_bytes()[-1].first > 0
    whole(store)


def puller(*options: str) -> forked.Process:
    command = [sys.executable, "-m", "llmlocal", "pull", MODEL, *options]
    return forked.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def together(hub: FakeHub, store: Path, rounds: int, size: int) -> None:
    for number in range(rounds):
        data = model(size, seed=number)
        hub.add(REPO, {NAME: data}, commit=f"{number:040x}")
        hub.requests.clear()
        processes = [puller("-q") for _ in range(8)]
        results = [process.communicate(timeout=120) for process in processes]
        ends = [(process.returncode, err.decode()) for process, (_, err) in zip(processes, results, strict=True)]
        assert not [end for end in ends if end[0] != 0]
        path = pointer(store).parent.with_name(f"{number:040x}") / NAME
        assert {out for out, _ in results} == {f"{path}\n".encode()}
        assert path.read_bytes() == data
        ranges = [request.headers.get("range", "") for request in hub.asked_for_bytes()]
        assert sum(not asked.startswith("bytes=0-") for asked in ranges) <= 1, ranges
        assert not [name for name in files_below(store) if "incomplete" in name or "link" in name]


def test_together(hub: FakeHub, store: Path) -> None:
    together(hub, store, 1, 2 << 20)


@pytest.mark.slow
def test_together_twenty_times(hub: FakeHub, store: Path) -> None:
    together(hub, store, 20, 8 << 20)


def killed(hub: FakeHub, store: Path, times: int, size: int) -> None:
    """Kill a pull when a random part is there; the next one asks for just the rest."""
    import random

    rng, data = random.Random(0), model(size)
    digest = hashlib.sha256(data).hexdigest()
    partial = store / "models--org--tiny-GGUF" / "blobs" / f"{digest}.llmlocal.incomplete"
    hub.add(REPO, {NAME: data})
    for _ in range(times):
        pointer(store).unlink(missing_ok=True)
        pointer(store).parent.parent.parent.joinpath("blobs", digest).unlink(missing_ok=True)
        hub.requests.clear()
        enough = rng.randrange(1, len(data))
        hub.faults = [None, f.slow(200, 0.005)]  # the header, then the file
        process = puller("-q")
        while process.poll() is None and not (partial.exists() and partial.stat().st_size >= enough):
            pass
        process.kill()
        process.communicate()
        assert not os.path.lexists(pointer(store)) or pointer(store).read_bytes() == data
        held = partial.stat().st_size if partial.exists() else len(data)
        hub.requests.clear()
        hub.faults = []
        code, events = pull.plan(MODEL), []
        path = pull.pull(code, events.append)
        assert path.read_bytes() == data
        asked = [r for r in hub.asked_for_bytes() if not r.headers["range"].startswith("bytes=0-")]
        fetched = sum(e.fetched for e in [e for e in events if isinstance(e, DownloadProgress)][-1:])
        assert fetched == len(data) - held
        assert [r.first for r in asked] == ([held] if held < len(data) else [])
        whole(store, data)


def test_killed(hub: FakeHub, store: Path) -> None:
    killed(hub, store, 3, 8 << 20)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
def test_killed_at_every_change_of_the_disk(hub: FakeHub, store: Path) -> None:
    """At each flush, rename, link and removal in turn: the name stands for the whole file or for nothing."""
    hub.add(REPO, {NAME: DATA})
    calls = "fsync,ftruncate,rename,renameat,renameat2,symlink,symlinkat,unlink,mkdir,rmdir"
    command = [sys.executable, "-m", "llmlocal", "pull", MODEL, "-q"]
    for number in range(1, 60):
        shutil.rmtree(store, ignore_errors=True)
        trace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={calls}:signal=KILL:when={number}"]
        code = subprocess.run([*trace, *command], capture_output=True).returncode
        assert not pointer(store).exists() or pointer(store).read_bytes() == DATA
        assert forked.run(command).returncode == 0
        for path in (store / "models--org--tiny-GGUF" / "refs").glob(".llmlocal-*.part"):
            path.unlink()  # that is left of a killed writer, and no harm
        whole(store)
        if code == 0:
            break
    assert number > 5


@pytest.mark.slow
def test_killed_fifty_times(hub: FakeHub, store: Path) -> None:
    killed(hub, store, 50, 8 << 20)
