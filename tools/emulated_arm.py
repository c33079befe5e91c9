"""A pytest plugin that runs kernels on an emulated 64-bit ARM CPU, on a machine of any kind.

    EMULATED_ARM=neon_dot pytest -p emulated_arm --slow -k neon_dot tests/test_matmul.py

EMULATED_ARM is the best instruction set that is told: `neon_i8mm`, `neon_dot` or `neon`. Kernels are compiled here for
ARM; the CPU of `unicorn` (PyPI) runs them and sees this process's memory at the same addresses. It has no i8mm: `smmla`
is done here. For the whole program see `tools/arm_lane.sh`. Nothing may be timed.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from threading import Lock
from typing import Any

import numpy as np
from emulated_kernels import run_kernels_by
from unicorn import UC_ARCH_ARM64, UC_HOOK_INTR, UC_HOOK_MEM_UNMAPPED, UC_MODE_ARM, UC_PROT_ALL, Uc, UcError
from unicorn.arm64_const import (
    UC_ARM64_REG_CPACR_EL1,
    UC_ARM64_REG_LR,
    UC_ARM64_REG_PC,
    UC_ARM64_REG_Q0,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X1,
    UC_ARM64_REG_X2,
    UC_CPU_ARM64_MAX,
)

from llmlocal.quant.jit import cpu

TRIPLE = "aarch64-unknown-linux-gnu"
FEATURES = {
    "neon_i8mm": frozenset({"neon", "dotprod", "i8mm"}),
    "neon_dot": frozenset({"neon", "dotprod"}),
    "neon": frozenset({"neon"}),
}
GB, STACK = 1 << 30, 1 << 20
ARGUMENTS = (UC_ARM64_REG_X0, UC_ARM64_REG_X1, UC_ARM64_REG_X2)
VECTORS = 3 << 20  # in CPACR_EL1: vector instructions are not trapped
SMMLA, REGISTERS = 0x4E80A400, 0x1F03FF  # the instruction, and where it names its three registers


class Machine:
    """The emulated CPU, with this process's addresses; a gigabyte of them is mapped when it is first used."""

    def __init__(self) -> None:
        self.lock, self.mapped, self.fault = Lock(), set[int](), ""
        self.cpu = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        self.cpu.ctl_set_cpu_model(UC_CPU_ARM64_MAX)
        self.cpu.hook_add(UC_HOOK_MEM_UNMAPPED, self.map)
        self.cpu.hook_add(UC_HOOK_INTR, self.do_unknown)
        self.cpu.reg_write(UC_ARM64_REG_CPACR_EL1, VECTORS)
        self.stack = mmap.mmap(-1, STACK)
        self.top = ctypes.addressof(ctypes.c_char.from_buffer(self.stack)) + STACK

    def map(self, machine: object, access: int, address: int, *_: object) -> bool:
        gigabyte = address // GB
        if gigabyte in self.mapped:
            return False
        self.mapped.add(gigabyte)
        self.cpu.mem_map_ptr(gigabyte * GB, GB, UC_PROT_ALL, gigabyte * GB)
        return True

    def do_unknown(self, machine: object, exception: int, *_: object) -> None:
        """Do the instruction that the emulator does not know if it is `smmla`; else the call fails."""
        at = self.cpu.reg_read(UC_ARM64_REG_PC)
        code = int.from_bytes(self.cpu.mem_read(at, 4), "little")
        if code & ~REGISTERS != SMMLA:
            self.fault = f"exception {exception} at {at:#x}, instruction {code:#x}"
            self.cpu.emu_stop()
            return
        target, *sources = (UC_ARM64_REG_Q0 + (code >> shift & 31) for shift in (0, 5, 16))
        first, second = (self.register(source, np.int8).reshape(2, 8).astype(np.int32) for source in sources)
        sums = self.register(target, np.int32).reshape(2, 2) + first @ second.T
        self.cpu.reg_write(target, int.from_bytes(sums.tobytes(), "little"))
        self.cpu.reg_write(UC_ARM64_REG_PC, at + 4)

    def register(self, number: int, kind: Any) -> Any:
        return np.frombuffer(self.cpu.reg_read(number).to_bytes(16, "little"), kind)

    def call(self, function: int, *args: int) -> None:
        """Call a C function of up to three int64. Raises RuntimeError where the CPU raises an exception."""
        with self.lock:
            for register, value in zip(ARGUMENTS, args, strict=False):
                self.cpu.reg_write(register, value & (1 << 64) - 1)
            ctypes.memset(self.top - STACK, 0xFF, STACK)  # NaN in every type of float
            self.cpu.reg_write(UC_ARM64_REG_SP, self.top)
            self.cpu.reg_write(UC_ARM64_REG_LR, 0)
            self.fault = ""
            try:
                self.cpu.emu_start(function, 0)
            except UcError as error:
                raise RuntimeError(f"{error} at {self.cpu.reg_read(UC_ARM64_REG_PC):#x}") from error
            if self.fault:
                raise RuntimeError(self.fault)


def emulate(isa: str) -> None:
    """From here on llmlocal is told that this is an ARM CPU, and kernels run on the emulated one."""
    native, arm = cpu.target("generic"), cpu.arm
    cpu._is_arm = lambda: True
    cpu.arm_features = lambda: FEATURES[isa]
    cpu.arm = lambda isa, triple="": arm(isa, triple or TRIPLE)
    run_kernels_by(Machine().call, native)


emulate(os.environ["EMULATED_ARM"])
