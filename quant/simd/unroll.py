"""Unrolled loops as intrinsics: the calls are written into the kernel, and Numba compiles nothing but what is called.

As lambdas in Python they were a third of the functions of a kernel, each of which costs Numba a fixed time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.core.imputils import lower_builtin
from numba.core.types.containers import BaseTuple, StarArgTuple, StarArgUniTuple
from numba.core.types.misc import unliteral
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

from .vector import intrinsic, jitable, known

I64 = ir.IntType(64)
Step = tuple[Any, Any, int | None]  # type of the function, signature of the call, number that it is given first


def map_parts(n: int, part_of: Callable[[int], Callable[..., Any]]) -> Any:
    """The jitable function `(*args) -> (f0(*args), ..., f[n - 1](*args))`, where `part_of(i)` gives function f[i].

    An unrolled loop whose iterations differ by more than their number; else `unroll_map` compiles faster.
    """
    return _mapped([(jitable(part_of(i)), None) for i in range(n)])


def unroll_map(n: int, step: Callable[..., Any]) -> Any:
    """The jitable function `(*args) -> (step(0, *args), ..., step(n - 1, *args))`: Numba compiles `step` once."""
    part = jitable(step)
    return _mapped([(part, i) for i in range(n)])


def fold_parts(parts: Sequence[Callable[..., Any]]) -> Any:
    """The jitable function `(state, *args)` that runs `state = part(state, *args)` for each part, in order."""
    return _folded([(jitable(part), None) for part in parts])


def unroll_fold(n: int, step: Callable[..., Any], first: int = 0) -> Any:
    """The jitable function `(state, *args)`: `state = step(i, state, *args)` for i = first .. first + n - 1.

    Numba compiles `step` once.
    """
    part = jitable(step)
    return _folded([(part, i) for i in range(first, first + n)])


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


def _mapped(parts: list[tuple[Any, int | None]]) -> Any:
    def typing(context: Any, args: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
        steps = [_step(context, part, number, args) for part, number in parts]
        result = BaseTuple.from_types([called.return_type for _, called, _ in steps])

        def codegen(context: Any, b: Any, sig: Any, values: Sequence[Any]) -> Any:
            return context.make_tuple(b, result, [_call(context, b, step, args, values) for step in steps])

        return result, codegen

    return _variadic(typing)


def _folded(parts: list[tuple[Any, int | None]]) -> Any:
    def typing(context: Any, args: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
        state, *rest = args
        steps: list[tuple[Step, tuple[Any, ...]]] = []
        for part, number in parts:
            given = (state, *rest)
            steps.append((_step(context, part, number, given), given))
            state = steps[-1][0][1].return_type

        def codegen(context: Any, b: Any, sig: Any, values: Sequence[Any]) -> Any:
            value, *more = values
            for step, given in steps:
                value = _call(context, b, step, given, (value, *more))
            return value

        return state, codegen

    return _variadic(typing)


def _step(context: Any, part: Any, number: int | None, args: tuple[Any, ...]) -> Step:
    """How a part is called with arguments of these types."""
    kind = context.resolve_value_type(part)
    given = args if number is None else (types.int64, *args)
    return kind, kind.get_call_type(context, given, {}), number


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


def _variadic(typing: Callable[[Any, tuple[Any, ...]], tuple[Any, Callable[..., Any]]]) -> Any:
    """A function of any number of arguments: `typing(context, types)` gives the result's type and the code."""

    def unrolled(*args: Any) -> Any:
        raise NotImplementedError("only within a kernel")

    class Template(AbstractTemplate):  # type: ignore[misc]
        key = unrolled

        def generic(self, args: Any, kws: Any) -> Any:
            plain = tuple(unliteral(arg) for arg in args)
            result, codegen = typing(self.context, plain)
            lower_builtin(unrolled, *plain)(codegen)
            return signature(result, *plain)

    infer_global(unrolled, types.Function(Template))
    return known(unrolled)
