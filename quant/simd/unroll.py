"""Unrolled loops as intrinsics: the calls are written into the kernel, and Numba compiles nothing but what is called.

As lambdas in Python they were a third of the functions of a kernel, each of which costs Numba a fixed time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from inspect import Parameter, Signature
from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.core.types.containers import BaseTuple, StarArgTuple, StarArgUniTuple

from .callee import Callee, Intrinsic, Typing, register
from .contexts import TYPING
from .part import jitable
from .vector import intrinsic

I64 = ir.IntType(64)
Numbered = tuple[Any, int | None]  # a function, and the number that it is given first
Step = tuple[Any, Any, int | None]  # type of the function, signature of the call, number that it is given first


def map_parts(n: int, part_of: Callable[[int], Callable[..., Any]]) -> Any:
    """The jitable function `(*args) -> (f0(*args), ..., f[n - 1](*args))`, where `part_of(i)` gives function f[i].

    An unrolled loop whose iterations differ by more than their number; else `unroll_map` compiles faster.
    """
    return _mapped(*((jitable(part_of(i)), None) for i in range(n)))


def unroll_map(n: int, step: Callable[..., Any]) -> Any:
    """The jitable function `(*args) -> (step(0, *args), ..., step(n - 1, *args))`: Numba compiles `step` once."""
    part = jitable(step)
    return _mapped(*((part, i) for i in range(n)))


def fold_parts(parts: Sequence[Callable[..., Any]]) -> Any:
    """The jitable function `(state, *args)` that runs `state = part(state, *args)` for each part, in order."""
    return _folded(*((jitable(part), None) for part in parts))


def unroll_fold(n: int, step: Callable[..., Any], first: int = 0) -> Any:
    """The jitable function `(state, *args)`: `state = step(i, state, *args)` for i = first .. first + n - 1.

    Numba compiles `step` once.
    """
    part = jitable(step)
    return _folded(*((part, i) for i in range(first, first + n)))


def element(b: Any, t: Any, values: Any, i: Any) -> Any:
    """What `tuple_get` emits."""
    value = b.extract_value(values, 0)
    for j in range(1, t[0].count):
        value = b.select(b.icmp_signed("==", i, ir.Constant(i.type, j)), b.extract_value(values, j), value)
    return value


@intrinsic(lambda values, i: values.dtype)
def tuple_get(b: Any, t: Any, values: Any, i: Any) -> Any:
    """Element `i` of a tuple of one type; once all is inline `i` is a constant, and no selection is left."""
    return element(b, t, values, i)


@cache
def _mapped(*parts: Numbered) -> Intrinsic:
    def typing(args: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
        steps = [_step(part, args) for part in parts]
        result = BaseTuple.from_types([called.return_type for _, called, _ in steps])

        def code(context: Any, b: Any, sig: Any, values: Sequence[Any]) -> Any:
            return context.make_tuple(b, result, [_call(context, b, step, args, values) for step in steps])

        return result, code

    return _unrolled("unroll_map", parts, typing)


@cache
def _folded(*parts: Numbered) -> Intrinsic:
    def typing(args: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
        state, *rest = args
        steps: list[tuple[Step, tuple[Any, ...]]] = []
        for part in parts:
            given = (state, *rest)
            steps.append((_step(part, given), given))
            state = steps[-1][0][1].return_type

        def code(context: Any, b: Any, sig: Any, values: Sequence[Any]) -> Any:
            value, *more = values
            for step, given in steps:
                value = _call(context, b, step, given, (value, *more))
            return value

        return state, code

    return _unrolled("unroll_fold", parts, typing)


def _unrolled(name: str, parts: tuple[Numbered, ...], typing: Typing) -> Intrinsic:
    made = Intrinsic(name, None, Signature([Parameter("args", Parameter.VAR_POSITIONAL)]), [part for part, _ in parts])
    register(made, Callee(name, typing))
    return made


def _step(part: Numbered, args: tuple[Any, ...]) -> Step:
    """How a part is called with arguments of these types."""
    function, number = part
    kind = TYPING.resolve_value_type(function)
    return kind, kind.get_call_type(TYPING, args if number is None else (types.int64, *args), {}), number


def _call(context: Any, b: Any, step: Step, kinds: Sequence[Any], values: Sequence[Any]) -> Any:
    """The value of a call of `step` with values of the types `kinds`."""
    kind, called, number = step
    given = list(zip(kinds, values, strict=True))
    if number is not None:
        given.insert(0, (types.int64, ir.Constant(I64, number)))
    wanted, rest = list(called.args), []
    if wanted and isinstance(wanted[-1], StarArgTuple | StarArgUniTuple):  # of a function of `*args`
        rest = [wanted.pop()]
        wanted += rest[0].types
    cast = [context.cast(b, value, have, want) for (have, value), want in zip(given, wanted, strict=True)]
    if rest:
        first = len(called.args) - 1
        cast[first:] = [context.make_tuple(b, rest[0], cast[first:])]
    return context.get_function(kind, called)(b, cast)
