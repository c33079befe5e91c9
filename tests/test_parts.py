"""Parts of kernels that cannot be compiled: what the author of a kernel is told."""

from __future__ import annotations

from typing import Any

import pytest
from numba.core import types
from numba.core.errors import LoweringError, TypingError

from llmlocal.quant.simd.part import kernel_text
from llmlocal.quant.simd.vector import intrinsic


@intrinsic(lambda value: value)
def broken(b: Any, t: Any, value: Any) -> Any:
    raise ValueError("no such instruction")


def test_an_error_of_an_intrinsic_names_the_statement_and_the_line() -> None:
    def part(value: Any) -> Any:
        return broken(value)

    with pytest.raises(LoweringError, match=r"no such instruction: lowering .*call.*test_parts\.py"):
        kernel_text(part, (types.int64,))


def test_an_error_of_types_names_the_operation() -> None:
    def part(value: Any) -> Any:
        return value + range(value)

    with pytest.raises(TypingError, match=r"add"):
        kernel_text(part, (types.int64,))
