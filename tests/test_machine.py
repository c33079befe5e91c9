"""What the system's files say of the machine is what psutil says."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import psutil
import pytest

from llmlocal.quant.jit import cpu
from llmlocal.quant.machine import MEMORY, machine_cores, machine_memory


def test_memory_is_what_psutil_says() -> None:
    found, said = machine_memory(), psutil.virtual_memory()
    assert found.total == said.total
    assert abs(found.available - said.available) < said.total / 4  # other processes go on meanwhile


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's files")
def test_memory_by_an_example(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:  1024 kB\nHugePages_Free: 0\n")
    assert machine_memory(tmp_path / "meminfo") == (2 << 20, 1 << 20)
    assert machine_memory(tmp_path / "none").total == machine_memory(MEMORY).total


def test_cores_are_what_psutil_says(tmp_path: Path) -> None:
    everything = psutil.cpu_count(logical=False)
    assert machine_cores(folder=tmp_path / "none") == everything and 1 <= (machine_cores() or 0) <= everything


class Cpus(NamedTuple):
    """CPUs as Linux describes them: which of them share a core, and the capacity of each, where it says so."""

    siblings: list[str]
    capacities: Sequence[int] = ()
    file: str = "core_cpus_list"

    def write(self, folder: Path) -> Path:
        for i, shared in enumerate(self.siblings):
            topology = folder / f"cpu{i}" / "topology"
            topology.mkdir(parents=True)
            (topology / self.file).write_text(f"{shared}\n")
            (topology / "core_id").write_text("0\n")
        for i, capacity in enumerate(self.capacities):
            (folder / f"cpu{i}" / "cpu_capacity").write_text(f"{capacity}\n")
        (folder / "cpuidle").mkdir()
        (folder / "cpu99").mkdir()  # switched off
        return folder


SMT = Cpus(["0,2", "1,3", "0,2", "1,3"])
NEIGHBOURS = Cpus(["0-1", "0-1", "2-3", "2-3"], file="thread_siblings_list")
BIG_LITTLE = Cpus([*"01234567"], [280] * 4 + [760] * 3 + [1024])
HYBRID = Cpus(["0-1", "0-1", "2-3", "2-3", *"4567"], [1024] * 4 + [600] * 4)


@pytest.mark.parametrize(
    ("machine", "allowed", "cores"),
    [
        (SMT, None, 2),
        (SMT, {0, 2}, 1),  # a container with both CPUs of one core
        (SMT, {0, 1}, 2),
        (NEIGHBOURS, None, 2),
        (NEIGHBOURS, {0, 1, 2}, 2),
        (BIG_LITTLE, None, 4),  # the four slow ones do not count
        (BIG_LITTLE, {0, 1, 2, 3}, 4),  # unless there is nothing else
        (BIG_LITTLE, {3, 4, 7}, 2),
        (HYBRID, None, 6),
        (HYBRID, {1, 4, 5}, 3),
    ],
)
def test_cores_that_share_or_differ(machine: Cpus, allowed: set[int] | None, cores: int, tmp_path: Path) -> None:
    assert machine_cores(allowed, machine.write(tmp_path)) == cores


@pytest.mark.parametrize(("known", "cores"), [(4, 4), (None, psutil.cpu_count(logical=False))])
def test_efficiency_cores_of_a_mac_do_not_count(
    known: int | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sysctlbyname(name: bytes, value: Any, *_: Any) -> int:
        assert name == b"hw.perflevel0.physicalcpu"
        value._obj.value = known or 0
        return 0 if known else -1

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(sysctlbyname=sysctlbyname))
    assert machine_cores(folder=tmp_path) == cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinity")
@pytest.mark.parametrize(("quota", "threads"), [(None, 2), (1, 1), (3, 2)])
def test_threads_by_default_are_the_cores_that_affinity_and_quota_leave(
    quota: int | None, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SMT.write(tmp_path)
    monkeypatch.setattr(cpu, "machine_cores", lambda allowed: machine_cores(allowed, folder))
    monkeypatch.setattr(cpu, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    assert cpu.physical_cores() == threads
    assert cpu.usable_cpus() == min(3, quota or 3)
