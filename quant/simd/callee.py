"""What kernels call: intrinsics, unrolled loops and parts. Each has a Numba type of its own, which knows its calls.

Numba's way for extensions, templates and registries, searches them at every operation of every function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Signature
from itertools import count
from typing import Any

from numba.core import types
from numba.core.datamodel import models
from numba.core.types.containers import StarArgTuple
from numba.core.types.misc import Omitted, unliteral
from numba.core.typing.templates import fold_arguments, signature
from numba.extending import register_model

Emit = Callable[[Any, Any, Any, Sequence[Any]], Any]  # (context, builder, signature of the call, values) -> value
Typing = Callable[[tuple[Any, ...]], tuple[Any, Emit] | None]  # types of arguments -> type of the result, and the code

_numbers = count()
_callees: dict[Any, Callee] = {}


class Callee(types.Callable, types.Opaque):
    """The type of one function that kernels call; `parameters` where some have defaults, or it takes any number."""

    def __init__(self, name: str, typing: Typing, parameters: Signature | None = None) -> None:
        self._typing, self._parameters = typing, parameters
        self._calls: dict[tuple[Any, ...], tuple[Any, Emit]] = {}
        super().__init__(name=f"{name}.{next(_numbers)}")

    def get_call_type(self, context: Any, args: Sequence[Any], kws: Mapping[str, Any]) -> Any:
        """The signature of a call, None where it cannot be called so."""
        given = tuple(unliteral(arg) for arg in args)
        if self._parameters:
            given = _folded(self._parameters, given, kws)
        if given not in self._calls:
            typed = self._typing(given)
            if typed is None:
                return None
            result, emit = typed
            self._calls[given] = signature(result, *given).replace(pysig=self._parameters), emit
        return self._calls[given][0]

    def emit(self, args: tuple[Any, ...]) -> Emit:
        """The code of a call that was given a signature with these types."""
        return self._calls[args][1]

    def get_call_signatures(self) -> tuple[list[Any], bool]:
        """For Numba's error messages."""
        return [call for call, _ in self._calls.values()], True

    def get_impl_key(self, sig: Any) -> Any:
        """For Numba, where it looks for code; ours comes from `emit`."""
        return self


register_model(Callee)(models.OpaqueModel)


def _folded(parameters: Signature, args: tuple[Any, ...], kws: Mapping[str, Any]) -> tuple[Any, ...]:
    """Types of all parameters: defaults filled in, the rest as a tuple."""
    return tuple(
        fold_arguments(
            parameters,
            args,
            kws,
            lambda index, parameter, value: value,
            lambda index, parameter, default: Omitted(default),
            lambda index, parameter, values: StarArgTuple(values),
        )
    )


class Intrinsic:
    """What a kernel calls like a function, and Python cannot call; `parts` are functions that it calls itself."""

    def __init__(self, name: str, doc: str | None, parameters: Signature, parts: Sequence[Any] = ()) -> None:
        self.__name__, self.__doc__, self.__signature__, self.parts = name, doc, parameters, parts

    def __call__(self, *args: Any) -> Any:
        raise NotImplementedError(f"{self.__name__} works within a kernel only")


def register(function: Any, callee: Callee) -> None:
    """From now on kernels may call `function`."""
    _callees[function] = callee


def callee_of(value: Any) -> Callee | None:
    """The type of what kernels may call, None for any other value."""
    try:
        return _callees.get(value)
    except TypeError:  # not hashable
        return None
