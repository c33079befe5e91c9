"""Object code into this process: by our own loader, otherwise by LLVM's; and the target machine as LLVM knows it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from . import elf
from .cpu import Target


@cache
def machine(where: Target) -> Any:
    import llvmlite.binding as llvm

    if where.triple:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    else:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    triple = where.triple or llvm.get_default_triple()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=where.cpu,
        features=where.features,
        opt=3,
        jit=True,
        reloc="static" if triple.startswith("x86") else "default",  # static: what LLVM's loader needs on x86
        codemodel="jitdefault",
    )


@cache
def _engine(where: Target) -> Any:
    import llvmlite.binding as llvm

    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine(where))


def load(code: bytes, where: Target, symbol: str, known: Mapping[str, int] = {}) -> int:
    """Address of `symbol` of an object in this process; `known` are the values of symbols that it does not define."""
    address = elf.load(code, symbol, known)
    if address is not None:
        return address
    import llvmlite.binding as llvm

    for name, value in known.items():
        llvm.add_symbol(name, value)
    engine = _engine(where)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return int(engine.get_function_address(symbol))
