"""Numba's contexts for kernels: what is known of types, how functions call each other, and our one set of flags."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import llvmlite.ir as ir
from numba.core import compiler, fastmathpass, types, typing
from numba.core.callconv import BaseCallConv
from numba.core.cpu import CPUContext
from numba.core.types.misc import unliteral
from numba.core.typing import templates

from .callee import Callee, callee_of

# Templates of functions written in Python, which Numba would compile as libraries of its own.
LIBRARIES = templates._OverloadFunctionTemplate, templates._OverloadAttributeTemplate, templates._IntrinsicTemplate

# Comparisons and arithmetic. A shift or a division by a constant may have another type.
OPERATORS = frozenset(
    [operator.add, operator.sub, operator.mul, operator.lt, operator.le, operator.gt, operator.ge, operator.eq]
)


class KernelTyping(typing.Context):  # type: ignore[misc]
    """Numbers, tuples, ranges and callees. Arrays, lists and strings would be looked through at every operation."""

    def __init__(self) -> None:
        self._resolved: dict[Any, Any] = {}
        super().__init__()

    def load_additional_registries(self) -> None:
        """None are needed."""

    def install_registry(self, registry: Any) -> None:
        """What Numba has built in, but for libraries."""
        loader = self._registries.setdefault(registry, templates.RegistryLoader(registry))
        for template in loader.new_registrations("functions"):
            self.insert_function(template(self))
        for template in loader.new_registrations("attributes"):
            if not issubclass(template, LIBRARIES):
                self.insert_attributes(template(self))
        for value, kind in loader.new_registrations("globals"):
            self._insert_builtin(value, kind)

    def _insert_builtin(self, value: Any, kind: Any) -> None:
        known = self._lookup_global(value)
        if isinstance(kind, types.Function):
            use = tuple(t for t in kind.templates if not issubclass(t, LIBRARIES))
            if not use:
                return
            kind = types.Function(known.templates + use if isinstance(known, types.Function) else use)
        if known is not None:
            self._remove_global(value)
        self.insert_global(value, kind)

    def resolve_value_type(self, val: Any) -> Any:
        return callee_of(val) or super().resolve_value_type(val)

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """The signature of a call, which is the same whenever the types are."""
        if isinstance(func, Callee):
            return func.get_call_type(self, args, kws)
        if kws:
            return super().resolve_function_type(func, args, kws)
        kinds = tuple(map(unliteral, args)) if _takes_any_value(func) else args
        try:
            return self._resolved[func, kinds]
        except (KeyError, TypeError):  # a slice, for one, is no key
            found = super().resolve_function_type(func, kinds, kws)
        if found is not None:
            with suppress(TypeError):
                self._resolved[func, kinds] = found
        return found


def _takes_any_value(func: Any) -> bool:
    """Whether it is arithmetic or a comparison, whose types depend on no constant's value."""
    return isinstance(func, types.Function) and func.typing_key in OPERATORS


class DirectCalls(BaseCallConv):  # type: ignore[misc]
    """Functions return their values. Kernels raise nothing: no call has a status, or a place for its result."""

    def get_function_type(self, restype: Any, argtypes: Any) -> Any:
        result = self.context.get_return_type(restype)
        return ir.FunctionType(result, list(self._get_arg_packer(argtypes).argument_types))

    def decorate_function(self, fn: Any, args: Any, fe_argtypes: Any, noalias: bool = False) -> None:
        self._get_arg_packer(fe_argtypes).assign_names(fn.args, [f"arg.{name}" for name in args])

    def get_arguments(self, func: Any) -> Any:
        return func.args

    def return_value(self, builder: Any, retval: Any) -> None:
        builder.ret(retval)

    def return_user_exc(self, builder: Any, *_: Any, **__: Any) -> None:
        """Where Python raises an exception, as for a range in steps of 0, the process ends."""
        builder.call(builder.module.declare_intrinsic("llvm.trap", (), ir.FunctionType(ir.VoidType(), [])), [])
        builder.unreachable()

    def _make_call_helper(self, builder: Any) -> None:
        """For exceptions, of which there are none."""

    def call(self, builder: Any, function: Any, restype: Any, argtypes: Any, values: Sequence[Any]) -> Any:
        """The result of an LLVM function of this convention."""
        given = self._get_arg_packer(argtypes).as_arguments(builder, values)
        return self.context.get_returned_value(builder, restype, builder.call(function, given))


class KernelTarget(CPUContext):  # type: ignore[misc]
    """How parts become LLVM text. Nothing in it depends on this machine."""

    def init(self) -> None:
        super().init()
        self._functions: dict[tuple[Any, Any], Any] = {}
        self._packers: dict[tuple[Any, ...], Any] = {}

    def load_additional_registries(self) -> None:
        """What kernels use registers with Numba's builtins when it is imported."""
        from numba.core import optional  # noqa: F401
        from numba.cpython import builtins, iterators, mathimpl, numbers, rangeobj, slicing, tupleobj  # noqa: F401

        self.install_registry(mathimpl.registry)  # magnitudes of floats

    @property
    def call_conv(self) -> DirectCalls:
        return DirectCalls(self)

    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Any:
        if isinstance(fn, Callee):
            emit = fn.emit(sig.args)
            return lambda builder, args, loc=None: emit(self, builder, sig, args)
        if (fn, sig) not in self._functions:
            self._functions[fn, sig] = super().get_function(fn, sig, _firstcall)
        return self._functions[fn, sig]

    def get_arg_packer(self, fe_args: Sequence[Any]) -> Any:
        kinds = tuple(fe_args)
        if kinds not in self._packers:
            self._packers[kinds] = super().get_arg_packer(kinds)
        return self._packers[kinds]

    def get_constant_generic(self, builder: Any, ty: Any, val: Any) -> Any:
        return self.get_dummy_value() if isinstance(ty, Callee) else super().get_constant_generic(builder, ty, val)

    def post_lowering(self, mod: Any, library: Any) -> None:
        fastmathpass.rewrite_module(mod, self.fastmath)


def _flags() -> Any:
    flags = compiler.Flags()
    flags.forceinline = True
    flags.nrt = False  # a kernel allocates nothing
    flags.boundscheck = False  # callers validate; addresses have no bounds
    flags.error_model = "numpy"  # no exception for a division by zero
    # Never plain fast-math: it deletes NaN tests. Contraction gives FMA; no other liberty changes a sum's order here.
    flags.fastmath = {"contract", "nsz", "arcp"}
    return flags


FLAGS = _flags()
TYPING = KernelTyping()
TARGET = compiler._make_subtarget(KernelTarget(TYPING), FLAGS)
