"""Numba and LLVM, driven with the one set of compile options: a kernel becomes object code or assembly text."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
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
    """The kernel's optimized LLVM module with a C entry, everything else internal to it.

    Numba's text says which machine it is for, this one; nothing in it depends on that before it is optimized, so a
    target of another kind is written in its place.
    """
    import llvmlite.binding as llvm

    host = machine(where)
    v = cast(InstructionSet, import_module(f"..isa.{where.isa}", __package__))
    text, name = _lower(_entry(kernel, v))
    module = llvm.parse_assembly(text + _wrapper(symbol, name))
    module.triple, module.data_layout = host.triple, str(host.target_data)
    for item in [*module.functions, *module.global_variables]:
        if item.name != symbol and not item.is_declaration:
            item.linkage = "internal"
    module.verify()
    _optimize(module, host)
    return module


def _optimize(module: Any, host: Any) -> None:
    """LLVM's passes for the machine that the code is for, which Numba's own would not know. Loops are rotated first."""
    import llvmlite.binding as llvm

    for level in (0, 3):
        options = llvm.create_pipeline_tuning_options(speed_level=level)
        options.loop_vectorization, options.slp_vectorization = level == 3, False
        builder = llvm.create_pass_builder(host, options)
        passes = builder.getModulePassManager()
        if level == 0:
            passes.add_loop_rotate_pass()
            passes.add_instruction_combine_pass()
            passes.add_jump_threading_pass()
        passes.run(module, builder)


def _entry(kernel: Kernel, v: InstructionSet) -> Any:
    """`(args, ith, nth)` that reads the fields from the argument block and runs the kernel's body."""
    from ..simd.load_store import load_i64
    from ..simd.unroll import unroll_map
    from ..simd.vector import jitable

    body = jitable(kernel.build(v))
    fields = unroll_map(len(kernel.fields), lambda i, args: load_i64(args + 8 * (i + 1)))

    def entry(args, ith, nth):
        body(args, ith, nth, *fields(args))

    return entry


def _lower(function: Any) -> tuple[str, str]:
    """LLVM text, not yet optimized, and name of `function(int64, int64, int64)`, with our one set of options."""
    from numba.core import compiler, types
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    from ..simd.pipeline import KernelPipeline

    flags = compiler.Flags()
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True  # we call it from C, and warm starts have no Numba
    flags.no_compile = True  # machine code is made below, for the target that we chose
    flags.nrt = False  # a kernel allocates nothing
    flags.boundscheck = False  # callers validate; addresses have no bounds
    flags.error_model = "numpy"  # no exception for a division by zero
    # Never plain fast-math: it deletes NaN tests. Contraction gives FMA; no other liberty changes a sum's order here.
    flags.fastmath = {"contract", "nsz", "arcp"}
    with global_compiler_lock, _linking_only():
        result = compiler.compile_extra(
            cpu_target.typing_context,
            cpu_target.target_context,
            function,
            (types.int64,) * 3,
            types.void,
            flags,
            {},
            pipeline_class=KernelPipeline,
        )
        result.library.finalize()
    return result.library.get_llvm_str(), result.fndesc.llvm_func_name


@contextlib.contextmanager
def _linking_only() -> Iterator[None]:
    """Let Numba link the parts of a kernel without optimizing, compiling and timing each of them on its own.

    We optimize once, when everything is inline, and collect no garbage meanwhile, which takes a tenth of the time. This
    reaches into Numba, hence the narrow range of its version in pyproject.toml.
    """
    from numba.core import event
    from numba.core.codegen import JITCodeLibrary, JITCPUCodegen

    def finalized(library: Any) -> None:
        library._finalized = True

    spared = [
        (JITCodeLibrary, "_optimize_final_module", lambda library: None),
        (JITCodeLibrary, "_finalize_final_module", finalized),
        (JITCPUCodegen, "set_env", lambda codegen, name, env: None),
        (event, "start_event", lambda kind, data=None: None),
        (event, "end_event", lambda kind, data=None, exc_details=None: None),
    ]
    before, collects = [getattr(owner, name) for owner, name, _ in spared], gc.isenabled()
    gc.disable()
    for owner, name, nothing in spared:
        setattr(owner, name, nothing)
    try:
        yield
    finally:
        for (owner, name, _), method in zip(spared, before, strict=True):
            setattr(owner, name, method)
        if collects:
            gc.enable()


def _wrapper(symbol: str, name: str) -> str:
    """A C function around Numba's convention, which returns a status and takes places for a result and an exception."""
    return f"""
define void @"{symbol}"(i64 %args, i64 %ith, i64 %nth) {{
  %result = alloca ptr
  %exception = alloca ptr
  %status = call i32 @"{name}"(ptr %result, ptr %exception, i64 %args, i64 %ith, i64 %nth)
  ret void
}}
"""
