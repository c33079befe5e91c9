"""Which instruction set this CPU offers, and how to tell LLVM about it. Imports no Numba.

`LLMLOCAL_ISA` overrides the choice (for tests and for comparing); a set that the CPU lacks is refused.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from ..cgroups import cpu_quota
from ..machine import machine_cores
from .host import host

# Best first. A set is offered where the host has all of these LLVM features; no ARM feature has an x86 one's name.
NEEDS: dict[str, frozenset[str]] = {
    "avx512": frozenset({"avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx2", "fma", "f16c"}),
    "avxvnni": frozenset({"avxvnni", "avx2", "fma", "f16c"}),
    "avx2": frozenset({"avx2", "fma", "f16c"}),
    "neon_i8mm": frozenset({"neon", "dotprod", "i8mm"}),
    "neon_dot": frozenset({"neon", "dotprod"}),
    "neon": frozenset({"neon"}),
    "generic": frozenset(),
}
# What a lower x86 set must not use although the host has it, so that a forced set tests what it says.
HIDDEN: dict[str, tuple[str, ...]] = {
    "avx512": (),
    "avxvnni": ("avx512",),
    "avx2": ("avx512", "avxvnni"),
}
# What ARM kernels may use, on any core. No core is named to LLVM: it does not know them all, fails on some, and spills
# fewer registers when it schedules for none. With dot products comes ARMv8.2 at least, whose atomics need no loop.
ARM: dict[str, str] = {
    "neon_i8mm": "+v8.2a,+dotprod,+i8mm",
    "neon_dot": "+v8.2a,+dotprod",
    "neon": "",
    "generic": "",
}


@dataclass(frozen=True, slots=True)
class Target:
    """An instruction set and the LLVM CPU name and feature string that kernels for it are compiled with."""

    isa: str
    cpu: str
    features: str
    triple: str = ""  # of another machine, whose code can be read here but not run


def arm(isa: str, triple: str = "") -> Target:
    """The target for an instruction set of 64-bit ARM."""
    return Target(isa, "generic", ARM[isa], triple)


@cache
def host_features() -> frozenset[str]:
    """LLVM's names of the features that this CPU has; of ARM's those that choose an instruction set."""
    if _is_arm():
        return arm_features()
    return frozenset(name for name, on in host().features.items() if on)


def offered() -> list[str]:
    """Names of the instruction sets that this CPU can run, best first."""
    return [isa for isa, needs in NEEDS.items() if needs <= host_features()]


class InstructionSetError(ValueError):
    """An instruction set was asked for that is unknown, or that this CPU lacks."""


@cache
def target(isa: str | None = None) -> Target:
    """The target for `isa`, by default that of `LLMLOCAL_ISA` or the best one here.

    Raises InstructionSetError.
    """
    isa = isa or os.environ.get("LLMLOCAL_ISA") or offered()[0]
    if isa not in offered():
        raise InstructionSetError(f"LLMLOCAL_ISA={isa}: this CPU offers {', '.join(offered())}")
    if _is_arm():
        return arm(isa)
    if isa == "generic" and platform.machine().lower() in {"x86_64", "amd64"}:
        return Target(isa, "x86-64", "")
    return Target(isa, host().name, _flags(HIDDEN.get(isa, ())))


def _flags(hidden: tuple[str, ...]) -> str:
    """LLVM's feature string of this CPU without what is hidden, and without what its name promises and it lacks."""
    features = host().features.items()
    return ",".join(f"+{f}" if on and not f.startswith(hidden) else f"-{f}" for f, on in sorted(features))


# ---- ARM -----------------------------------------------------------------------------------------------------------


def _is_arm() -> bool:
    return platform.machine().lower() in {"aarch64", "arm64"}


class ArmFeature(NamedTuple):
    """Where systems tell whether a CPU has a feature: Linux, macOS and Windows."""

    hwcap: tuple[int, int]  # entry of the auxiliary vector, and bit
    sysctl: str
    processor_feature: int


ASKED = {
    "dotprod": ArmFeature((16, 20), "hw.optional.arm.FEAT_DotProd", 43),
    "i8mm": ArmFeature((26, 13), "hw.optional.arm.FEAT_I8MM", 66),
}


def arm_features() -> frozenset[str]:
    """Asked of the system: LLVM knows what cores of a name have, and never reports these."""
    has = {"darwin": _macos_has, "win32": _windows_has}.get(sys.platform, _linux_has)
    try:
        return frozenset({"neon", *(name for name, feature in ASKED.items() if has(feature))})
    except (AttributeError, OSError):  # a system that cannot be asked
        return frozenset({"neon"})


def _linux_has(feature: ArmFeature) -> bool:
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    entry, bit = feature.hwcap
    return bool(getauxval(entry) >> bit & 1)


def _macos_has(feature: ArmFeature) -> bool:
    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    name = feature.sysctl.encode()
    failed = ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    return not failed and value.value == 1


def _windows_has(feature: ArmFeature) -> bool:
    return bool(ctypes.CDLL("kernel32").IsProcessorFeaturePresent(feature.processor_feature))


# ---- cores ---------------------------------------------------------------------------------------------------------


def physical_cores() -> int:
    """Physical cores that this process may use, without those that are far slower: the default thread count."""
    usable = usable_cpus()
    return max(1, min(machine_cores(_allowed()) or usable, usable))


def usable_cpus() -> int:
    """Logical CPUs that affinity and a container's quota leave to this process."""
    allowed = len(_allowed() or ()) or os.cpu_count() or 1
    return max(1, min(allowed, cpu_quota() or allowed))


def _allowed() -> set[int] | None:
    """The CPUs that this process's affinity names; None where the system has no such thing."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
