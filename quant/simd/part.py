"""Parts of kernels: Python functions that Numba's interpreter, type inference and lowering make LLVM text of.

Numba's own driver makes each function a library that is optimized, linked and compiled. Here a kernel is the text of
its parts side by side, which LLVM sees once. This reaches into Numba, hence the narrow range of its version in
pyproject.toml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from inspect import Parameter, Signature
from inspect import signature as signature_of
from itertools import count
from types import FunctionType
from typing import Any

import llvmlite.ir as ir
from numba.core import bytecode, interpreter, ir_utils, lowering, typed_passes
from numba.core.analysis import dead_branch_prune, rewrite_semantic_constants
from numba.core.compiler import StateDict
from numba.core.funcdesc import PythonFunctionDescriptor
from numba.core.rewrites.static_getitem import RewriteConstGetitems
from numba.core.ssa import reconstruct_ssa
from numba.core.targetconfig import ConfigStack
from numba.core.transforms import canonicalize_cfg

from .callee import Callee, callee_of, register
from .contexts import FLAGS, TARGET, TYPING

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
        typed = partial(_typed, function, inline)
        register(function, Callee(function.__name__, typed, _folded_parameters(function)))
        _same[key] = function
    return _same[key]


def _folded_parameters(function: Callable[..., Any]) -> Signature | None:
    parameters = signature_of(function)
    fold = any(p.default is not p.empty or p.kind is Parameter.VAR_POSITIONAL for p in parameters.parameters.values())
    return parameters if fold else None


def _typed(function: FunctionType, inline: bool, args: tuple[Any, ...]) -> tuple[Any, Any]:
    part = Part(function, args, inline)
    return part.result, part.emit


class Part:
    """A function for arguments of certain types. To lowering it is a library, in which its text is left."""

    def __init__(self, function: FunctionType, args: tuple[Any, ...], inline: bool = True) -> None:
        self._ir = _numba_ir(function, args)
        types, self.result, calls, _ = typed_passes.type_inference_stage(TYPING, TARGET, self._ir, args, None)
        self._ir = typed_passes.PreLowerStripPhis()._strip_phi_nodes(self._ir)
        self._ir._definitions = ir_utils.build_definitions(self._ir.blocks)
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


def _numba_ir(function: FunctionType, args: tuple[Any, ...]) -> Any:
    """Numba's intermediate representation, by the passes that kernels need.

    Left out: closures within functions, `with`, exceptions, array expressions, literal unrolling, parallel loops.
    """
    identity = bytecode.FunctionIdentity.from_function(function)
    made = interpreter.Interpreter(identity).interpret(bytecode.ByteCode(identity))
    made.generator_info = None
    made.blocks = canonicalize_cfg(made.blocks)
    rewrite_semantic_constants(made, args)
    dead_branch_prune(made, args)
    rewrite = RewriteConstGetitems(StateDict(func_ir=made))
    for label, block in list(made.blocks.items()):
        while rewrite.match(made, block, None, None):
            made.blocks[label] = block = rewrite.apply()
    made = reconstruct_ssa(made)
    made._definitions = ir_utils.build_definitions(made.blocks)
    return made


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
