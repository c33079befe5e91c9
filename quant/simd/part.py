"""Parts of kernels: Python functions that Numba's interpreter, type inference and lowering make LLVM text of.

Numba's own driver makes each function a library that is optimized, linked and compiled. Here a kernel is the text of
its parts side by side, which LLVM sees once. This reaches into Numba, hence the narrow range of its version in
pyproject.toml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from inspect import CO_VARARGS, Signature
from inspect import signature as signature_of
from itertools import count
from types import FunctionType
from typing import Any

import llvmlite.ir as ir
from numba.core import cgutils, errors, lowering
from numba.core.funcdesc import PythonFunctionDescriptor
from numba.core.targetconfig import ConfigStack

from .callee import Callee, callee_of, register
from .contexts import FLAGS, TARGET
from .inference import typed

METADATA = re.compile(r", !\w+ !\d+")  # numbered within a module, and only about what is likely

_numbers = count()
_same: dict[Any, Any] = {}


def jitable(function: Callable[..., Any], *, inline: bool = True) -> Any:
    """A part of a kernel: compiled into whatever calls it, always inline, so that its vectors stay in registers.

    Not `inline`, a large part with several callers that takes and returns no vectors is compiled once, and called.
    Builders make the same part again and again; one with the same code and values is taken instead, and compiled once.
    What kernels can call already, such as an intrinsic, is returned as it is.
    """
    if not isinstance(function, FunctionType) or callee_of(function):
        return function
    around = [cell.cell_contents for cell in function.__closure__ or ()]
    values = [(type(x), repr(x)) if isinstance(x, int | float | str) else id(x) for x in around]
    key = (function.__code__, function.__defaults__, id(function.__globals__), inline, *values)
    if key not in _same:
        typing = partial(_typed, function, inline)
        register(function, Callee(function.__name__, typing, _folded_parameters(function)))
        _same[key] = function
    return _same[key]


def _folded_parameters(function: FunctionType) -> Signature | None:
    fold = function.__defaults__ or function.__kwdefaults__ or function.__code__.co_flags & CO_VARARGS
    return signature_of(function) if fold else None


def _typed(function: FunctionType, inline: bool, args: tuple[Any, ...]) -> tuple[Any, Any]:
    part = Part(function, args, inline)
    return part.result, part.emit


class Part:
    """A function for arguments of certain types. To lowering it is a library, in which its text is left."""

    def __init__(self, function: FunctionType, args: tuple[Any, ...], inline: bool = True) -> None:
        self._ir, types, self.result, calls = typed(function, args)
        self.name = f"{function.__name__}.{next(_numbers)}"
        self._descriptor = PythonFunctionDescriptor(
            native=True,
            modname="",
            qualname=self.name,
            unique_name=self.name,
            doc="",
            typemap=types,
            restype=self.result,
            calltypes=calls,
            args=tuple(self._ir.arg_names),
            kws=(),
            mangler=lambda *_, **__: self.name,
            inline=inline,
            env_name=self.name,
            global_dict=function.__globals__,
        )
        self._callees: dict[Part, None] = {}
        self._texts: dict[str, str] = {}

    def emit(self, context: Any, b: Any, sig: Any, values: Sequence[Any]) -> Any:
        """A call of it, from another part."""
        context.add_linking_libs([self])
        called = self._descriptor
        function = context.declare_function(b.module, called)
        return context.call_conv.call(b, function, called.restype, called.argtypes, values)

    def texts(self) -> dict[str, str]:
        """LLVM's text of the function, and of what it declares, by name."""
        if not self._texts:
            with ConfigStack().enter(FLAGS.copy()), TARGET.push_code_library(self):
                _Lower(TARGET, self, self._descriptor, self._ir).lower()
        return self._texts

    def callees(self) -> list[Part]:
        """The parts that it calls, once its text is there."""
        return list(self._callees)

    def create_ir_module(self, name: str) -> Any:
        """For lowering, which writes into it."""
        return ir.Module(name)

    def add_ir_module(self, module: Any) -> None:
        """For lowering, at its end."""
        self._texts = {item.name: METADATA.sub("", str(item)) for item in module.global_values}

    def add_linking_library(self, library: Part) -> None:
        """For lowering, at each call."""
        self._callees[library] = None


class _Lower(lowering.Lower):  # type: ignore[misc]
    def emit_environment_object(self) -> None:
        """None: there are no Python objects."""

    def lower_block(self, block: Any) -> None:
        """Statement by statement; what an error is about is put together once there is one."""
        self.pre_block(block)
        for statement in block.body:
            self.loc = statement.loc
            try:
                self.lower_inst(statement)
            except errors.NumbaError:
                raise
            except Exception as error:
                raise errors.LoweringError(f"{error}: lowering {statement} at {self.loc}", self.loc) from error
        self.post_block(block)

    def alloca_lltype(self, name: str, lltype: Any, datamodel: Any = None) -> Any:
        """A variable's place on the stack, of whose size no debugger is told."""
        return cgutils.alloca_once(self.builder, lltype, name=name)


def kernel_text(function: FunctionType, args: tuple[Any, ...]) -> tuple[str, str]:
    """LLVM text, not yet optimized, of a function of these types and all its parts, and the function's name in it."""
    TARGET.refresh()  # with what was registered since
    main = Part(function, args)
    parts, texts = {main: None}, dict[str, str]()
    waiting = [main]
    while waiting:
        part = waiting.pop()
        texts = part.texts() | texts | {part.name: part.texts()[part.name]}  # a definition, not what callers declare
        new = [callee for callee in part.callees() if callee not in parts]
        parts |= dict.fromkeys(new)
        waiting += new
    return "\n".join(texts.values()), main.name
