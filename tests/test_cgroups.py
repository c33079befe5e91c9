"""Control groups: which CPU quota counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmlocal.quant.cgroups import cpu_quota


@pytest.mark.parametrize(
    ("line", "files", "cpus"),
    [
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1),
        ("0::/a/b", {"cpu.max": "400000 100000", "a/b/cpu.max": "200000 100000"}, 2),
        ("0::/a", {"a/cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("4:cpu,cpuacct:/j", {"cpu/j/cpu.cfs_quota_us": "300000", "cpu/j/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu:/j", {"cpu/j/cpu.cfs_quota_us": "-1", "cpu/j/cpu.cfs_period_us": "100000"}, None),
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
