"""From a kernel to object code or assembly text: its parts go through Numba (see `simd.part`), then through LLVM."""

from __future__ import annotations

import gc
import re
from importlib import import_module
from typing import Any, cast

from ..simd.instruction_set import InstructionSet
from .cpu import Target, target
from .kernel import Kernel
from .loader import machine


def compile_object(kernel: Kernel, where: Target, symbol: str) -> bytes:
    """The kernel's object code, exporting `symbol` with the C signature of `CALL`."""
    return bytes(machine(where).emit_object(_module(kernel, where, symbol)))


def compile_assembly(kernel: Kernel, isa: str | Target | None = None) -> str:
    """The kernel's assembly text, for those who ask which instructions it became; a target may be another machine."""
    where = isa if isinstance(isa, Target) else target(isa)
    return str(machine(where).emit_assembly(_module(kernel, where, "kernel")))


def _module(kernel: Kernel, where: Target, symbol: str) -> Any:
    """The kernel's optimized LLVM module with a C entry, everything else internal to it."""
    import llvmlite.binding as llvm

    host = machine(where)
    v = cast(InstructionSet, import_module(f"..isa.{where.isa}", __package__))
    text, name = _lower(_entry(kernel, v))
    module = llvm.parse_assembly(_with_aligned_stacks(text, host.triple) + _wrapper(symbol, name, host.triple))
    module.triple, module.data_layout = host.triple, str(host.target_data)
    for item in [*module.functions, *module.global_variables]:
        if item.name != symbol and not item.is_declaration:
            item.linkage = "internal"
    module.verify()
    _optimize(module, host)
    return module


def _optimize(module: Any, host: Any) -> None:
    """LLVM's passes. Functions are simplified one by one, put together with loops rotated, and optimized as a whole.

    At level 1 no loop of a part is written out twice, which makes code longer once its calls are inline.
    """
    import llvmlite.binding as llvm

    for level in (1, 0, 3):
        options = llvm.create_pipeline_tuning_options(speed_level=level)
        options.loop_vectorization, options.slp_vectorization = level == 3, False
        builder = llvm.create_pass_builder(host, options)
        if level == 1:
            for function in module.functions:
                builder.getFunctionPassManager().run(function, builder)
            continue
        passes = builder.getModulePassManager()
        if level == 0:
            passes.add_loop_rotate_pass()
            passes.add_instruction_combine_pass()
            passes.add_jump_threading_pass()
        passes.run(module, builder)


def _entry(kernel: Kernel, v: InstructionSet) -> Any:
    """`(args, ith, nth)` that reads the fields from the argument block and runs the kernel's body."""
    from ..simd.load_store import load_i64
    from ..simd.part import jitable
    from ..simd.unroll import unroll_map

    body = jitable(kernel.build(v))
    fields = unroll_map(len(kernel.fields), lambda i, args: load_i64(args + 8 * (i + 1)))

    def entry(args, ith, nth):
        body(args, ith, nth, *fields(args))

    return entry


def _lower(function: Any) -> tuple[str, str]:
    """LLVM text, not yet optimized, and name of `function(int64, int64, int64)`.

    No garbage is collected meanwhile, which takes a tenth of the time.
    """
    from numba.core import types
    from numba.core.compiler_lock import global_compiler_lock

    from ..simd.part import kernel_text

    collects = gc.isenabled()
    gc.disable()
    try:
        with global_compiler_lock:
            return kernel_text(function, (types.int64,) * 3)
    finally:
        if collects:
            gc.enable()


def _wrapper(symbol: str, name: str, triple: str) -> str:
    """A C function around the kernel's, which returns Python's None."""
    return f"""
define void @"{symbol}"(i64 %args, i64 %ith, i64 %nth) {_stack_attribute(triple)}
{{
  %none = call ptr @"{name}"(i64 %args, i64 %ith, i64 %nth)
  ret void
}}
"""


def _stack_attribute(triple: str) -> str:
    """On x86, of a function whose stack is aligned for the widest vectors: spilled ones would cross cache lines."""
    return '"stackrealign"' if triple.startswith("x86_64") else ""


def _with_aligned_stacks(text: str, triple: str) -> str:
    """LLVM text whose functions that are not inline have aligned stacks."""
    return re.sub(r"(?m)^define .*\)$", lambda found: f"{found.group()} {_stack_attribute(triple)}", text)
