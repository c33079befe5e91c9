"""A pytest plugin that runs kernels on an emulated x86-64 CPU, for instruction sets that this machine lacks.

    EMULATED_CPU=icelake-client pytest -p emulated_cpu tests/test_matmul.py

See `tools/avx512_lane.sh`, which installs what this needs: `bochscpu-python`, the CPU of the Bochs emulator as a Python
module. Python, NumPy and the threads' program run as ever; a kernel's machine code alone is emulated, and sees this
process's memory at the same addresses. About 20 million instructions a second; nothing may be timed.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from threading import Lock
from typing import Any

import bochscpu
import bochscpu.cpu
import bochscpu.memory
import llvmlite.binding as llvm
import pytest
from emulated_kernels import run_kernels_by

from llmlocal.quant.jit import cpu
from llmlocal.quant.jit.host import Host

# LLVM's name of a CPU -> the emulator's model, and the features that matter here beyond those of x86-64-v3.
AVX512 = "avx512f avx512bw avx512cd avx512dq avx512vl"
ICELAKE = f"{AVX512} avx512vnni avx512ifma avx512vbmi avx512vbmi2 avx512bitalg avx512vpopcntdq gfni vaes vpclmulqdq"
MODELS = {
    "skylake-avx512": ("corei7_skylake_x", AVX512),
    "icelake-client": ("corei7_icelake_u", ICELAKE),
    "sapphirerapids": ("sapphire_rapids", f"{ICELAKE} avx512bf16 avx512fp16 avxvnni"),
    "znver5": ("sapphire_rapids", f"{ICELAKE} avx512bf16 avxvnni"),  # Zen 5's code; the emulator has no such model
    "arrowlake": ("arrow_lake", "avxvnni gfni vaes vpclmulqdq"),
}
V3 = "sse sse2 sse3 ssse3 sse4.1 sse4.2 popcnt cx16 cx8 cmov fxsr mmx sahf avx avx2 bmi bmi2 f16c fma lzcnt movbe xsave"
STATUS = pytest.StashKey[int]()
GB, PAGE = 1 << 30, 4096
LONG_MODE_CODE, LONG_MODE_DATA = (0x10, 0x209B), (0x18, 0xC093)  # selectors and attributes, of the kernel's privilege


def use_model(name: str) -> None:
    """Make the emulator's one model another one: a jump to its constructor is written over the constructor's start."""
    library, libc = ctypes.CDLL(bochscpu._bochscpu.__file__), ctypes.CDLL(None)

    def constructor(model: str) -> int:
        mangled = f"_Z{len(f'create_{model}_cpuid')}create_{model}_cpuidP8BX_CPU_C"
        return ctypes.cast(getattr(library, mangled), ctypes.c_void_p).value or 0

    start, wanted = constructor("corei3_cnl"), constructor(name)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if libc.mprotect(start & -PAGE, 2 * PAGE, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC):
        raise OSError("the emulator's code cannot be changed")
    ctypes.memmove(start, b"\x48\xb8" + wanted.to_bytes(8, "little") + b"\xff\xe0", 12)  # mov rax, wanted; jmp rax


class Machine:
    """The emulated CPU, with this process's virtual addresses; every gigabyte in use gets one of its physical ones."""

    def __init__(self) -> None:
        self.buffers: list[Any] = []
        self.gigabytes: list[int] = [0]  # of virtual memory, by number of the physical one
        self.middle: dict[int, int] = {}
        self.top, self.stack, self.halt = self.memory(PAGE), self.memory(1 << 20), self.memory(PAGE)
        ctypes.memset(self.halt, 0xF4, PAGE)  # hlt
        self.fault = ""
        self.hook = bochscpu.Hook()
        self.hook.hlt = lambda session, number: session.stop()
        self.hook.exception = self.failed
        self.session = bochscpu.Session()
        self.session.missing_page_handler = self.page_in
        self.lock = Lock()

    def memory(self, size: int) -> int:
        self.buffers.append(mmap.mmap(-1, size))
        return ctypes.addressof(ctypes.c_char.from_buffer(self.buffers[-1]))

    def physical(self, address: int) -> int:
        gigabyte = address // GB
        if gigabyte not in self.gigabytes:
            self.gigabytes.append(gigabyte)
        return self.gigabytes.index(gigabyte) * GB + address % GB

    def map_process(self) -> None:
        """Page tables for every gigabyte in which this process has memory, in pages of 2 MB."""
        with open("/proc/self/maps") as maps:
            ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps]
        used = {g for first, end in ranges if end < 1 << 47 for g in range(first // GB, (end - 1) // GB + 1)}
        for gigabyte in used - self.middle.keys():
            entry = ctypes.c_uint64.from_address(self.top + gigabyte // 512 * 8)
            if not entry.value:
                entry.value = self.physical(table := self.memory(PAGE)) | 7
                self.middle[-1 - gigabyte // 512] = table
            self.middle[gigabyte] = pages = self.memory(PAGE)
            first = self.physical(gigabyte * GB)
            (ctypes.c_uint64 * 512).from_address(pages)[:] = [first + (i << 21) | 0x87 for i in range(512)]
            above = self.middle[-1 - gigabyte // 512] + gigabyte % 512 * 8
            ctypes.c_uint64.from_address(above).value = self.physical(pages) | 7

    def page_in(self, physical: int) -> None:
        page = physical & -PAGE
        bochscpu.memory.page_insert(page, self.gigabytes[page // GB] * GB + page % GB)

    def failed(self, session: Any, number: int, vector: int, code: int) -> None:
        state = session.cpu.state
        instruction = ctypes.string_at(state.rip - 15, 15).hex(" ") if vector == 6 else ""  # it ends there
        self.fault = f"exception {vector} ({code}) before {state.rip:#x} ({instruction}), address {state.cr2:#x}"
        session.stop()

    def call(self, function: int, *args: int) -> None:
        """Call a C function of up to three int64. Raises RuntimeError where the CPU raises an exception."""
        with self.lock:
            self.map_process()
            state = bochscpu.State()
            bochscpu.cpu.set_long_mode(state)
            state.cr3 = self.physical(self.top)
            state.cr4 |= 1 << 18 | 1 << 10 | 1 << 9  # AVX and SSE
            state.xcr0, state.mxcsr, state.mxcsr_mask = 0xE7, 0x1F80, 0xFFFF
            state.cs = segment(*LONG_MODE_CODE)
            state.ds = state.ss = state.es = state.fs = state.gs = segment(*LONG_MODE_DATA)
            state.rip, state.rsp = function, self.stack + (1 << 20) - PAGE - 8
            ctypes.memset(self.stack, 0xFF, (1 << 20) - PAGE)  # NaN in every type of float
            ctypes.c_uint64.from_address(state.rsp).value = self.halt
            for name, value in zip(("rdi", "rsi", "rdx"), args, strict=False):
                setattr(state, name, value & (1 << 64) - 1)
            self.session.cpu.state, self.fault = state, ""
            self.session.run([self.hook])
            if self.fault:
                raise RuntimeError(self.fault)


def segment(selector: int, attributes: int) -> Any:
    out = bochscpu.Segment()
    out.present, out.selector, out.base, out.limit, out.attr = True, selector, 0, 0xFFFFFFFF, attributes
    return out


def emulate(name: str) -> None:
    """From here on LLVM and llmlocal are told that this is the CPU `name`, and kernels run on the emulated one."""
    model, more = MODELS[name]
    host = dict(llvm.get_host_cpu_features().items())
    native = cpu.target("avx2")
    use_model(model)
    machine = Machine()
    features = llvm.FeatureMap(dict.fromkeys(host, False) | dict.fromkeys([*V3.split(), *more.split(), "64bit"], True))
    features["prefer-no-gather"] = True  # the emulator refuses those that index by registers above 15
    if "evex512" in host:
        features["evex512"] = "avx512f" in features

    cpu.host = lambda: Host(name, dict(features))
    run_kernels_by(machine.call, native)


emulate(os.environ["EMULATED_CPU"])


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The emulator's module does not survive the end of the interpreter, which would hide the result."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.stash.get(STATUS, 1))
