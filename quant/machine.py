"""Memory and cores of this machine: on Linux from the kernel's files, elsewhere by psutil, slow to import."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

MEMORY = Path("/proc/meminfo")
CPUS = Path("/sys/devices/system/cpu")
SIBLINGS = "core_cpus_list", "thread_siblings_list"  # files that name a core's CPUs; the second on Linux before 5.3
FULL_CAPACITY = 1024  # of the fastest core, where cores differ and Linux says by how much


class MachineMemory(NamedTuple):
    """Bytes: of all memory, and of what can be had without swapping."""

    total: int
    available: int


def machine_memory(file: Path = MEMORY) -> MachineMemory:
    """The machine's memory, whatever a control group allows."""
    try:
        lines = (line.split() for line in file.read_text("ascii").splitlines())
        kilobytes = {words[0]: int(words[1]) for words in lines}
        return MachineMemory(1024 * kilobytes["MemTotal:"], 1024 * kilobytes["MemAvailable:"])
    except (OSError, ValueError, LookupError):
        import psutil

        found = psutil.virtual_memory()
        return MachineMemory(int(found.total), int(found.available))


def machine_cores(cpus: Iterable[int] | None = None, folder: Path = CPUS) -> int | None:
    """Physical cores of some CPUs, by default of all that are switched on; None where the system does not say.

    CPUs that share a core count once. A core with less than half of the fastest one's capacity does not count: what it
    takes last of each operation lasts longer than the others need for all that it did.
    """
    capacities: dict[bytes, int] = {}
    for cpu in cpus if cpus is not None else _switched_on(folder):
        at = folder / f"cpu{cpu}"
        core = next(filter(None, (_content(at / "topology" / name) for name in SIBLINGS)), b"")
        if core:
            capacity = _content(at / "cpu_capacity").strip()
            capacities[core] = int(capacity) if capacity.isdigit() else FULL_CAPACITY
    if capacities:
        return sum(2 * capacity >= max(capacities.values()) for capacity in capacities.values())
    if sys.platform == "darwin" and (fast := _macos_number(b"hw.perflevel0.physicalcpu")):
        return fast
    import psutil

    cores: int | None = psutil.cpu_count(logical=False)
    return cores


def _switched_on(folder: Path) -> Iterable[int]:
    names = (path.parent.parent.name for path in folder.glob("cpu[0-9]*/topology/core_id"))
    return [int(name[3:]) for name in names if name[3:].isdigit()]


def _content(file: Path) -> bytes:
    """What the file holds; nothing where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _macos_number(name: bytes) -> int:
    """A number that macOS knows by this name, 0 where it does not know it."""
    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    ask = ctypes.CDLL(None).sysctlbyname
    return 0 if ask(name, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)) else value.value
