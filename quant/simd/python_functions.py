"""`len`, `min` and `max` in kernels: instructions. Numba would compile functions written in Python for each use."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from numba.core import types
from numba.cpython.builtins import do_minmax

from .callee import Callee, Typing, register
from .contexts import TYPING


def _length(args: tuple[Any, ...]) -> Any:
    (values,) = args
    return types.intp, lambda context, b, sig, given: context.get_constant(types.intp, len(values))


def _extreme(comparison: Callable[[Any, Any], Any]) -> Typing:
    def typing(args: tuple[Any, ...]) -> Any:
        if not all(isinstance(arg, types.Number) for arg in args):
            return None
        return TYPING.unify_types(*args), lambda context, b, sig, values: do_minmax(
            context, b, sig.args, values, comparison
        )

    return typing


register(len, Callee("len", _length))
register(min, Callee("min", _extreme(operator.lt)))
register(max, Callee("max", _extreme(operator.gt)))
