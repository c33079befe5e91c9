"""What LLVM says of this CPU, remembered in the kernel cache: to ask it, llvmlite must be loaded.

It is remembered for a CPU that the system describes in the same words, and for the same llvmlite.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ..private_folder import why_foreign
from .kept_file import cache_root, keep, read

CPUINFO = Path("/proc/cpuinfo")
LONGEST = 1 << 14  # bytes of a processor's description
VARYING = (b"cpu MHz", b"bogomips", b"processor", b"physical id", b"core id", b"apicid", b"initial apicid")


class Host(NamedTuple):
    """LLVM's name of the CPU, and for each feature that it knows whether the CPU has it."""

    name: str
    features: dict[str, bool]


@cache
def host() -> Host:
    """This CPU, as `remember` kept it or as LLVM says now."""
    return _remembered() or ask()


def ask() -> Host:
    """This CPU, as LLVM says. Imports llvmlite."""
    import llvmlite.binding as llvm

    return Host(llvm.get_host_cpu_name(), dict(llvm.get_host_cpu_features().items()))


def remember() -> None:
    """Keep what `host` said, unless it is kept already; the caller has made the folder `cache_root`."""
    name = identity()
    if name and _remembered() is None:
        keep(_path(), json.dumps([name, *host()]).encode())


@cache
def identity() -> str:
    """A digest of how the system describes the first processor, and of llmlocal's LLVM; empty where it does not."""
    try:
        with CPUINFO.open("rb") as file:
            first = file.read(LONGEST).partition(b"\n\n")[0]
    except OSError:
        return ""
    lines = [line for line in first.splitlines() if line.partition(b"\t")[0].strip() not in VARYING]
    if not any(line.startswith(b"flags") for line in lines):
        return ""
    return hashlib.sha256(b"\n".join([*lines, version_file("llvmlite").read_bytes()])).hexdigest()


def version_file(package: str) -> Path:
    """The module of a compiler's package that holds its version."""
    spec = find_spec(package)
    return Path(str(spec and spec.origin)).with_name("_version.py")


def _path() -> Path:
    return cache_root() / "cpu"


def _remembered() -> Host | None:
    name = identity()
    if name and why_foreign(cache_root()) is None and (content := read(_path())):
        with suppress(ValueError, RecursionError):
            match json.loads(content):
                case [whose, str(cpu), dict(features)] if whose == name and {*map(type, features.values())} <= {bool}:
                    return Host(cpu, features)
    return None
