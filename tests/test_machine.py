"""What the system's files say of the machine is what psutil says."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

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
    assert machine_cores() == machine_cores(tmp_path / "none") == psutil.cpu_count(logical=False)


def test_cores_whose_threads_share_them(tmp_path: Path) -> None:
    for cpu, shared in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "core_cpus_list").write_text(shared)
    (tmp_path / "cpuidle").mkdir()
    assert machine_cores(tmp_path) == 2
