"""Object code is loaded without LLVM, and what our loader does not know is left to LLVM's."""

from __future__ import annotations

import ctypes
import platform
import sys

import llvmlite.binding as llvm
import pytest

from llmlocal.ops.attention import attention
from llmlocal.ops.kv import find
from llmlocal.quant.jit import cache, cpu, elf, kept_file, linker, loader

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="elsewhere LLVM loads object code"
)
CONSTANTS = """
@table = private constant [4 x i64] [i64 5, i64 7, i64 11, i64 13]
@outside = external global i8
declare i64 @twice(i64)
define i64 @"a.b"(i64 %i) {
  %place = getelementptr [4 x i64], ptr @table, i64 0, i64 %i
  %value = load i64, ptr %place
  %two = call i64 @twice(i64 %value)
  %sum = add i64 %two, ptrtoint (ptr @outside to i64)
  ret i64 %sum
}
"""
COUNTER = """
@count = internal global i64 0
define i64 @"a.b"(i64 %i) {
  %before = load i64, ptr @count
  %after = add i64 %before, %i
  store i64 %after, ptr @count
  ret i64 %after
}
"""
TWICE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(lambda x: 2 * x)
KNOWN = {"twice": ctypes.cast(TWICE, ctypes.c_void_p).value or 0, "outside": 1 << 40}


def compiled(text: str, where: cpu.Target | None = None, **options: str) -> bytes:
    """An object, by default with addresses of 64 bits, as kernels are compiled."""
    machine = loader.machine(where or cpu.target("generic"))
    if options:
        machine = llvm.Target.from_triple(machine.triple).create_target_machine(**options)
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    return bytes(machine.emit_object(module))


def called(address: int | None, number: int) -> int:
    assert address
    return int(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(number))


def test_constants_and_calls_are_found() -> None:
    address = elf.load(compiled(CONSTANTS), "a.b", KNOWN)
    assert [called(address, i) - KNOWN["outside"] for i in range(4)] == [10, 14, 22, 26]


def test_addresses_of_32_bits_reach_what_is_near() -> None:
    near = CONSTANTS.replace("call i64 @twice(i64 %value)", "add i64 %value, %value").replace(
        "ptrtoint (ptr @outside to i64)", "0"
    )
    address = elf.load(compiled(near, reloc="pic", codemodel="small"), "a.b", {})
    assert [called(address, i) for i in range(4)] == [10, 14, 22, 26]


def test_anything_else_is_left_to_llvm() -> None:
    """Memory that is written, another machine, an object that is cut, one of another kind of system."""
    far = compiled(CONSTANTS, reloc="pic", codemodel="small")  # 32 bits do not reach what is called
    elsewhere = compiled(CONSTANTS, cpu.arm("neon", "aarch64-unknown-linux-gnu"))
    for code in (compiled(COUNTER), elsewhere, far, compiled(CONSTANTS)[:300], b"\xcf\xfa\xed\xfe" + bytes(100), b""):
        assert elf.load(code, "a.b", KNOWN) is None


def test_unknown_names_are_left_to_llvm() -> None:
    code = compiled(CONSTANTS)
    assert elf.load(code, "a.b", {"twice": KNOWN["twice"]}) is None
    assert elf.load(code, "b.a", KNOWN) is None


def test_llvm_loads_what_is_left_to_it() -> None:
    address = loader.load(compiled(COUNTER), cpu.target("generic"), "a.b")
    assert [called(address, 3), called(address, 4)] == [3, 7]


def test_code_is_loaded_as_llvm_loads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, but for the addresses in it, of the largest kernel."""
    kernel, where = attention(find("f16")), cpu.target()
    linker.address_of(kernel)
    code, symbol = kept_file.read(cache.path_of(kernel, where)), f"llmlocal.{where.isa}.{kernel.name}"
    assert code
    ours = elf.load(code, symbol, {})
    monkeypatch.setattr(elf, "load", lambda *given: None)
    theirs = loader.load(code, where, symbol)
    assert ours and ours != theirs
    size = 4096
    same = [a == b for a, b in zip(ctypes.string_at(ours, size), ctypes.string_at(theirs, size), strict=True)]
    assert 0.9 < sum(same) / size < 1.0


def test_code_cannot_be_written() -> None:
    address = elf.load(compiled(CONSTANTS), "a.b", KNOWN)
    with open("/proc/self/maps") as file:
        (line,) = (line for line in file if _holds(line, address or 0))
    assert line.split()[1] == "r-xp"


def _holds(line: str, address: int) -> bool:
    begin, end = (int(number, 16) for number in line.split()[0].split("-"))
    return begin <= address < end
