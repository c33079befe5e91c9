"""What this machine is to llmlocal, and whether everything works on it. Prints nothing; knows no model.

Each fact is a line for people; those that can be wrong are checks, with what to do about it.
"""

from __future__ import annotations

import os
import platform
import re
import struct
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from ..quant.jit.cpu import offered, physical_cores, target, usable_cpus
from ..text import format_bytes

SHOWN = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE")
SECRET = re.compile(r"//[^/@]*@")  # a user's name and password in an address
CPUINFO, CPU_CACHES = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu/cpu0/cache")
PROBE = "Q4_0"  # the format whose product is read for the proof


@dataclass(frozen=True, slots=True)
class Fact:
    """`ok` is None where there is nothing to judge; `hint` says what to do where it is not."""

    name: str
    value: str
    ok: bool | None = None
    hint: str = ""


def facts() -> Iterator[Fact]:
    """Everything but the self-test, which takes longer (`self_test`)."""
    yield from _software()
    yield from _processor()
    yield from _room()
    for name in SHOWN:
        if value := os.environ.get(name) or os.environ.get(name.lower()):
            yield Fact(name, SECRET.sub("//...@", value))
    yield Fact("HF_TOKEN", "set" if os.environ.get("HF_TOKEN") else "not set")


def _software() -> Iterator[Fact]:
    bits = 8 * struct.calcsize("P")
    yield Fact("llmlocal", ", ".join(f"{name} {version(name)}" for name in ("llmlocal", "numpy", "numba", "llvmlite")))
    yield Fact(
        "python",
        f"{platform.python_version()}, {bits} bits, {platform.platform(terse=True)}",
        bits == 64 and sys.version_info >= (3, 11),
        "llmlocal needs Python 3.11 or later on a 64-bit system",
    )


def _processor() -> Iterator[Fact]:
    yield Fact("cpu", cpu_name())
    try:
        where = target()
    except ValueError as error:
        yield Fact("instructions", str(error), False, "unset LLMLOCAL_ISA, or choose one of these")
        return
    yield Fact("instructions", f"{where.isa}, of {', '.join(offered())}")
    yield proof()
    logical, usable = os.cpu_count() or 1, usable_cpus()
    yield Fact("cores", f"{physical_cores()} physical in use by default, {usable} of {logical} CPUs usable")
    if caches := cpu_caches():
        yield Fact("cpu caches", caches)


def proof() -> Fact:
    """Whether the instruction that the set exists for is in the code that a product of bytes became."""
    from ..quant.format import BY_NAME
    from ..quant.formats import load_all
    from ..quant.jit.compiler import compile_assembly
    from ..quant.kernels.matmul import matmul

    load_all()
    isa = import_module(f"..quant.isa.{target().isa}", __package__)
    name = f"proof, {PROBE} product"
    if not isa.PROOF:
        return Fact(name, "plain vector arithmetic, no instruction to look for")
    count = len(re.findall(rf"\b{isa.PROOF}\b", compile_assembly(matmul(BY_NAME[PROBE]))))
    hint = "the compiler did not use this CPU's instructions; please report it"
    return Fact(name, f"{count} {isa.PROOF} on {32 * isa.LANES}-bit vectors in the compiled code", count > 0, hint)


def _room() -> Iterator[Fact]:
    import psutil
    from platformdirs import user_cache_path

    from ..quant.jit.cache import cache_root

    memory = psutil.virtual_memory()
    yield Fact("memory", f"{format_bytes(memory.available)} available of {format_bytes(memory.total)}")
    folder, size = cache_root(), 0
    for path in folder.rglob("*"):
        size += path.stat().st_size if path.is_file() else 0
    yield Fact(
        "kernel cache",
        f"{folder}, {format_bytes(size)}",
        _writable(folder),
        "no kernel can be kept there, so each start compiles anew; set LLMLOCAL_CACHE to a folder that can be written",
    )
    store = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or _hf_home()) / "hub")
    free = psutil.disk_usage(str(_existing(store))).free
    yield Fact("model store", f"{store}, {format_bytes(free)} free on its disk")
    yield Fact("cache folder", str(user_cache_path("llmlocal")))


def _hf_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _existing(path: Path) -> Path:
    return path if path.exists() or path == path.parent else _existing(path.parent)


def cpu_name() -> str:
    """What the CPU calls itself."""
    try:
        found = re.search(r"^(?:model name|Model)\s*: (.+)$", CPUINFO.read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def cpu_caches() -> str:
    """Sizes of the first CPU's caches, where the system tells."""
    try:
        found = {
            (int((folder / "level").read_text()), (folder / "type").read_text().strip()): (folder / "size").read_text()
            for folder in sorted(CPU_CACHES.glob("index*"))
        }
    except (OSError, ValueError):
        return ""
    return ", ".join(f"L{level} {size.strip()}" for (level, kind), size in found.items() if kind != "Instruction")
