"""Memory and cores of this machine: on Linux from the kernel's files, elsewhere by psutil, slow to import."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

MEMORY = Path("/proc/meminfo")
CPUS = Path("/sys/devices/system/cpu")


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


def machine_cores(folder: Path = CPUS) -> int | None:
    """Physical cores that are switched on; None where the system does not say."""
    try:
        siblings = {path.read_bytes() for path in folder.glob("cpu[0-9]*/topology/core_cpus_list")}
    except OSError:
        siblings = set()
    if siblings:
        return len(siblings)
    import psutil

    cores: int | None = psutil.cpu_count(logical=False)
    return cores
