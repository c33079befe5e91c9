"""Control groups: which CPU quota counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmlocal.quant.cgroups import cpu_quota


def version1(folder: str, quota: int) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("line", "files", "cpus"),
    [
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1),
        ("0::/a/b", {"cpu.max": "400000 100000", "a/b/cpu.max": "200000 100000"}, 2),
        ("0::/a", {"a/cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("4:cpu,cpuacct:/j", version1("cpu/j", 300_000), 3),
        ("4:cpu:/j", version1("cpu/j", -1), None),
        ("3:cpuset:/k\n4:cpu,cpuacct:/a/b\n0::/", version1("cpu/a", 200_000) | version1("cpu/a/b", -1), 2),
        ("4:cpu,cpuacct:/a/b", version1("cpu,cpuacct/a", 200_000), 2),  # there is no link of the controller's name
        ("4:cpu:/docker/1", version1("cpu", 100_000), 1),  # the outer groups cannot be seen
        ("4:cpu:/j\n0::/a", version1("cpu/j", 400_000) | {"a/cpu.max": "300000 100000"}, 3),
        ("4:memory:/j", {"memory/j/cpu.max": "1 1"}, None),
    ],
)
def test_the_tightest_cpu_quota_of_all_groups_counts(
    tmp_path: Path, line: str, files: dict[str, str], cpus: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    (own := tmp_path / "own").write_text(f"{line}\n")
    assert cpu_quota(tmp_path, own) == cpus
