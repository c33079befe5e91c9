"""Python functions to machine code, once per machine: the one set of compile options, and the cache of object code.

A `Kernel` is known by its name and its fields; Numba is imported only where its object code is not in the cache.
Loading needs llvmlite alone, so a warm start never imports Numba. Knows nothing of what kernels compute.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from .cpu import Target, target

# Called as kernel(args, ith, nth): the address of the argument block, this thread's number, the number of threads.
CALL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
Builder = Callable[[ModuleType], Callable[..., None]]
# Told (kernel's name) before each compilation; a terminal may show it.
Listener = Callable[[str], None]
SUFFIX = ".o"
UNUSED_SECONDS = 14 * 86400  # another checkout or version may still use its folder


@dataclass(frozen=True, slots=True)
class Kernel:
    """A unit of compilation: `build(isa)` gives `run(counter, ith, nth, *fields)`, every parameter an int64.

    `counter` is the address of the operation's work counter; fields are addresses, counts, or the bits of a float32.
    """

    name: str
    fields: tuple[str, ...]
    build: Builder = field(compare=False)  # the name says which kernel it is

    def block(self, **values: int | float) -> list[int]:
        """The argument block: the counter, then the fields in order. Raises TypeError where names do not match."""
        if set(values) != set(self.fields):
            raise TypeError(f"{self.name} takes {self.fields}, got {tuple(values)}")
        return [0, *(float_bits(v) if isinstance(v, float) else v for v in (values[f] for f in self.fields))]

    def address(self, isa: str | None = None) -> int:
        """Address of the compiled kernel, from this process, the cache, or the compiler."""
        return _address(self, target(isa))


def kernel(fields: str) -> Callable[[Builder], Kernel]:
    """Decorate a builder: its name becomes the kernel's, `fields` the words of its argument block."""
    return lambda build: Kernel(build.__name__, tuple(fields.split()), build)


def float_bits(x: float) -> int:
    """The bits of a float32 as a non-negative int: how an argument block carries a float."""
    return int(struct.unpack("<I", struct.pack("<f", x))[0])


listeners: list[Listener] = []


@cache
def _address(kernel: Kernel, where: Target) -> int:
    path = cache_folder(where) / f"{kernel.name}{SUFFIX}"
    symbol = f"llmlocal.{where.isa}.{kernel.name}"
    code = _read(path)
    if code is None:
        for tell in listeners:
            tell(kernel.name)
        code = compile_object(kernel, where, symbol)
        _keep(path, code)
    return _load(code, where, symbol)


# ---- the compiler -------------------------------------------------------------------------------------------------


def compile_object(kernel: Kernel, where: Target, symbol: str) -> bytes:
    """The kernel's object code, exporting `symbol` with the C signature of `CALL`."""
    return bytes(_machine(where).emit_object(_module(kernel, where, symbol)))


def compile_assembly(kernel: Kernel, isa: str | Target | None = None) -> str:
    """The kernel's assembly text, for those who ask which instructions it became; a target may be another machine."""
    where = isa if isinstance(isa, Target) else target(isa)
    return str(_machine(where).emit_assembly(_module(kernel, where, "kernel")))


def _module(kernel: Kernel, where: Target, symbol: str) -> Any:
    """The kernel's optimized LLVM module with a C entry, everything else internal to it.

    Numba's text says which machine it is for, this one; nothing in it depends on that before it is optimized, so a
    target of another kind is written in its place.
    """
    import llvmlite.binding as llvm

    machine = _machine(where)
    text, name = _lower(_entry(kernel, import_module(f"{__package__}.isa.{where.isa}")))
    module = llvm.parse_assembly(text + _wrapper(symbol, name))
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    for item in [*module.functions, *module.global_variables]:
        if item.name != symbol and not item.is_declaration:
            item.linkage = "internal"
    module.verify()
    _optimize(module, machine)
    return module


def _optimize(module: Any, machine: Any) -> None:
    """LLVM's passes for the machine that the code is for, which Numba's own would not know. Loops are rotated first."""
    import llvmlite.binding as llvm

    for level in (0, 3):
        options = llvm.create_pipeline_tuning_options(speed_level=level)
        options.loop_vectorization, options.slp_vectorization = level == 3, False
        builder = llvm.create_pass_builder(machine, options)
        passes = builder.getModulePassManager()
        if level == 0:
            passes.add_loop_rotate_pass()
            passes.add_instruction_combine_pass()
            passes.add_jump_threading_pass()
        passes.run(module, builder)


def _entry(kernel: Kernel, isa: ModuleType) -> Any:
    """`(args, ith, nth)` that reads the fields from the argument block and runs the kernel's body."""
    from .memory import load_i64
    from .vector import jitable, unroll

    body = jitable(kernel.build(isa))

    def nth_field(i: int) -> Any:
        return lambda args: load_i64(args + 8 * (i + 1))

    if not kernel.fields:
        return lambda args, ith, nth: body(args, ith, nth)
    fields = unroll(len(kernel.fields), nth_field)

    def entry(args, ith, nth):  # type: ignore[no-untyped-def]
        body(args, ith, nth, *fields(args))

    return entry


def _lower(function: Any) -> tuple[str, str]:
    """LLVM text, not yet optimized, and name of `function(int64, int64, int64)`, with our one set of options."""
    from numba.core import compiler, types
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

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
        )
        result.library.finalize()
    return result.library.get_llvm_str(), result.fndesc.llvm_func_name


@contextlib.contextmanager
def _linking_only() -> Iterator[None]:
    """Let Numba link the parts of a kernel without optimizing and compiling each of them on its own: 3 times as fast.

    We optimize once, when everything is inline. This reaches into Numba, hence the narrow range of its version in
    pyproject.toml.
    """
    from numba.core.codegen import JITCodeLibrary, JITCPUCodegen

    def finalized(library: Any) -> None:
        library._finalized = True

    spared = [
        (JITCodeLibrary, "_optimize_final_module", lambda library: None),
        (JITCodeLibrary, "_finalize_final_module", finalized),
        (JITCPUCodegen, "set_env", lambda codegen, name, env: None),
    ]
    before = [getattr(owner, name) for owner, name, _ in spared]
    for owner, name, nothing in spared:
        setattr(owner, name, nothing)
    try:
        yield
    finally:
        for (owner, name, _), method in zip(spared, before, strict=True):
            setattr(owner, name, method)


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


@cache
def _machine(where: Target) -> Any:
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

    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(where))


def _load(code: bytes, where: Target, symbol: str) -> int:
    import llvmlite.binding as llvm

    engine = _engine(where)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return int(engine.get_function_address(symbol))


# ---- the cache ----------------------------------------------------------------------------------------------------


def sources() -> Iterator[Path]:
    """Every file whose text can change a kernel: all of quant, and the float kernels of the package around it."""
    yield from sorted(Path(__file__).parent.rglob("*.py"))
    ops = find_spec(f"{__package__.rpartition('.')[0]}.ops")
    for folder in ops.submodule_search_locations or () if ops else ():
        yield from sorted(Path(folder).glob("*.py"))


@cache
def fingerprint(where: Target) -> str:
    """What the object code depends on: sources, compiler versions, CPU and its features."""
    digest = hashlib.sha256(repr((where, version("numba"), version("llvmlite"))).encode())
    for path in sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def cache_root() -> Path:
    """The folder above all kernel caches: `LLMLOCAL_CACHE`, or the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("LLMLOCAL_CACHE") or user_cache_path("llmlocal")) / "kernels"


@cache
def cache_folder(where: Target) -> Path:
    """The folder of this target's kernels, made on first use (0700); those that were long not used are removed."""
    root = cache_root()
    folder = root / f"{where.isa}-{fingerprint(where)}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(folder)
        for other in root.iterdir():
            if time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def _read(path: Path) -> bytes | None:
    """The object code at `path` if it is whole: its sha256 stands before it."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[32:] if hashlib.sha256(data[32:]).digest() == data[:32] else None


def _keep(path: Path, code: bytes) -> None:
    """Write whole or not at all; a cache that cannot be written costs time, not correctness."""
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(hashlib.sha256(code).digest() + code)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
