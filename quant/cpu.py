"""Which instruction set this CPU offers, and how to tell LLVM about it. Knows no kernel; imports no Numba.

`LLMLOCAL_ISA` overrides the choice (for tests and for comparing); a set that the CPU lacks is refused.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache

# Best first. A set is offered where the host has all of these LLVM features.
NEEDS: dict[str, frozenset[str]] = {
    "avx512": frozenset({"avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx2", "fma", "f16c"}),
    "avxvnni": frozenset({"avxvnni", "avx2", "fma", "f16c"}),
    "avx2": frozenset({"avx2", "fma", "f16c"}),
    "generic": frozenset(),
}
# What a lower set must not use although the host has it, so that a forced set tests what it says.
HIDDEN: dict[str, tuple[str, ...]] = {
    "avx512": (),
    "avxvnni": ("avx512",),
    "avx2": ("avx512", "avxvnni"),
    "generic": (),
}


@dataclass(frozen=True, slots=True)
class Target:
    """An instruction set and the LLVM CPU name and feature string that kernels for it are compiled with."""

    isa: str
    cpu: str
    features: str


@cache
def host_features() -> frozenset[str]:
    """LLVM's names of the features that this CPU has."""
    import llvmlite.binding as llvm

    return frozenset(name for name, on in llvm.get_host_cpu_features().items() if on)


def offered() -> list[str]:
    """Names of the instruction sets that this CPU can run, best first."""
    return [isa for isa, needs in NEEDS.items() if needs <= host_features()]


@cache
def target(isa: str | None = None) -> Target:
    """The target for `isa`, by default that of `LLMLOCAL_ISA` or the best one here.

    Raises ValueError for a set that is unknown or that this CPU lacks.
    """
    import llvmlite.binding as llvm

    isa = isa or os.environ.get("LLMLOCAL_ISA") or offered()[0]
    if isa not in offered():
        raise ValueError(f"LLMLOCAL_ISA={isa}: this CPU offers {', '.join(offered())}")
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    if isa == "generic" and x86:
        return Target(isa, "x86-64", "")
    hidden = HIDDEN[isa]
    flags = [f"-{f}" if f.startswith(hidden) else f"+{f}" for f in sorted(host_features())] if hidden else []
    features = ",".join(flags) if hidden else llvm.get_host_cpu_features().flatten()
    return Target(isa, llvm.get_host_cpu_name() if not hidden else "x86-64-v3", features)


def physical_cores() -> int:
    """Physical cores that this process may use: the default thread count."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable, _cgroup_cpus() or usable))


def _cgroup_cpus() -> int | None:
    """Whole CPUs that a Linux container's quota allows, or None where there is no quota."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as f:
            quota, period = f.read().split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
