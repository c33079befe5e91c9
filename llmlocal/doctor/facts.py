"""Hardware and software facts of this machine, and health checks on them.

A fact is one line to show; a check also has a result, and a hint for when it fails.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from ..quant.jit.cpu import InstructionSetError, offered, physical_cores, target, usable_cpus
from ..quant.machine import machine_memory
from ..quant.private_folder import why_foreign
from ..quant.user_folders import user_folder
from ..text import format_bytes

SHOWN = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE")
SECRET = re.compile(r"//[^/@]*@")  # user name and password in a URL
CPUINFO, CPU_CACHES = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu/cpu0/cache")
LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PROBE = "Q4_0"  # the format whose matmul kernel is checked for the instruction


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the report. `ok` is the result of a check, None for a plain fact; `hint` is for a failed check."""

    name: str
    value: str
    ok: bool | None = None
    hint: str = ""


def facts() -> Iterator[Fact]:
    """All facts and checks except the self-test of the kernels (`self_test`), which takes longer."""
    yield from _software()
    yield from _processor()
    yield from _storage()
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
    except InstructionSetError as error:
        yield Fact("instructions", str(error), False, "unset LLMLOCAL_ISA, or set it to one of these")
        return
    yield Fact("instructions", f"{where.isa} (available: {', '.join(offered())})")
    yield proof()
    logical, usable = os.cpu_count() or 1, usable_cpus()
    yield Fact("cores", f"{physical_cores()} physical in use by default, {usable} of {logical} CPUs usable")
    if caches := cpu_caches():
        yield Fact("cpu caches", caches)


def proof() -> Fact:
    """Check that the compiled int8 matmul kernel contains the instruction set's multiply-add instruction."""
    from ..quant.format import BY_NAME
    from ..quant.formats import load_all
    from ..quant.jit.compiler import compile_assembly
    from ..quant.kernels.matmul import matmul

    load_all()
    isa = import_module(f"..quant.isa.{target().isa}", __package__)
    name = f"compiled {PROBE} kernel"
    if not isa.PROOF:
        return Fact(name, "generic vector arithmetic, no special instruction expected")
    count = len(re.findall(rf"\b{isa.PROOF}\b", compile_assembly(matmul(BY_NAME[PROBE]))))
    hint = "the compiler did not use this CPU's vector instructions; please report this"
    return Fact(name, f"{count} {isa.PROOF} instructions on {32 * isa.LANES}-bit vectors", count > 0, hint)


def _storage() -> Iterator[Fact]:
    from ..generation.prompt_cache import folder as prompt_folder
    from ..quant.jit.cache import why_not_kept
    from ..quant.jit.kept_file import cache_root

    memory = machine_memory()
    yield Fact("memory", f"{format_bytes(memory.available)} available of {format_bytes(memory.total)}")
    if LARGE_PAGES.exists():
        mode = LARGE_PAGES.read_text().partition("[")[2].partition("]")[0]
        uses = "not used: decode is slower" if mode == "never" else "used for weights"
        yield Fact("large pages", f"{mode}, {uses} (bench says what a model got)")
    folder, size = cache_root(), 0
    for path in folder.rglob("*"):
        size += path.stat().st_size if path.is_file() else 0
    reason = why_not_kept()
    yield Fact(
        "kernel cache",
        f"{folder}, {format_bytes(size)}",
        reason is None,
        f"{reason}: kernels that are missing are compiled at every start; set LLMLOCAL_CACHE to another folder",
    )
    yield _private("prompt cache", prompt_folder(), "prompts are not cached")
    yield _private("data folder", user_folder("data"), "sessions are neither saved nor continued")
    store = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or _hf_home()) / "hub")
    free = shutil.disk_usage(_existing(store)).free
    yield Fact("model store", f"{store}, {format_bytes(free)} free on its disk")
    yield Fact("cache folder", str(user_folder("cache")))


def _hf_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"


def _private(name: str, folder: Path, otherwise: str) -> Fact:
    """A check that a folder is this user's alone; `otherwise` says what follows where it is not."""
    reason = why_foreign(folder)
    return Fact(name, str(folder), reason is None, f"{reason}: {otherwise}; let only yourself write it")


def _existing(path: Path) -> Path:
    return path if path.exists() or path == path.parent else _existing(path.parent)


def cpu_name() -> str:
    """Model name of the CPU."""
    try:
        found = re.search(r"^(?:model name|Model)\s*: (.+)$", CPUINFO.read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def cpu_caches() -> str:
    """Cache sizes of the first CPU; empty where the system does not report them."""
    try:
        found = {
            (int((folder / "level").read_text()), (folder / "type").read_text().strip()): (folder / "size").read_text()
            for folder in sorted(CPU_CACHES.glob("index*"))
        }
    except (OSError, ValueError):
        return ""
    return ", ".join(f"L{level} {size.strip()}" for (level, kind), size in found.items() if kind != "Instruction")
