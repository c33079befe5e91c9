"""The activation xIELU, whose parameters are learned for each block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..ops.xielu import xielu
from ..runtime.graph import Value
from . import Layers
from .metadata import Config


@dataclass(frozen=True, slots=True)
class XIELU:
    """Parameters of one block, see `ops.xielu`."""

    positive: float
    negative: float
    beta: float
    eps: float

    @classmethod
    def read(cls, c: Config, blocks: int) -> list[XIELU]:
        """The parameters of each block, from keys without the architecture's prefix. Raises BadFileError."""
        own = Config(c.metadata, "xielu", c.path)
        read = {name: own.numbers(name, blocks) for name in ("alpha_p", "alpha_n", "beta", "eps")}
        if missing := [name for name, values in read.items() if values is None]:
            raise c.fail(f"xielu.{missing[0]} is missing")
        rows = zip(*(values or [] for values in read.values()), strict=True)
        return [cls(_softplus(p), beta + _softplus(n), beta, eps) for p, n, beta, eps in rows]

    def apply(self, g: Layers, x: Value) -> Value:
        """xielu(x), in place."""
        shape: dict[str, Any] = {
            "positive": self.positive,
            "negative": self.negative,
            "beta": self.beta,
            "eps": self.eps,
        }
        g.graph.add(xielu, tokens=g.graph.rows_of(x), x=x, width=x.width, **shape)
        return g.overwritten(x)


def _softplus(x: float) -> float:
    """ln(1 + e^x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
