"""Cost of one token from metadata and shapes: bytes of weights read in decode, multiply-adds in prefill."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..quant.format import Format
from ..quant.tensor import QTensor
from .arch_value import arch_value

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
EXPERTS = re.compile(r"_(?:ch)?exps\.|\.ffn_(gate|up|down)\.\d+\.")  # stacked, or a tensor for each expert


Numbers = Literal["int8", "float16", "float32"]


@dataclass(frozen=True, slots=True)
class Work:
    """Cost of one token: bytes of weights read in decode, multiply-adds in prefill (without attention)."""

    nbytes: float
    multiply_adds: float
    numbers: Numbers  # what most multiply-adds read of a weight


def work(tensors: Mapping[str, QTensor], metadata: Mapping[str, Any]) -> Work:
    """The cost of a token: one row of an untied embedding, and only the experts that it uses."""
    chosen = chosen_share(metadata)
    share = {name: chosen if EXPERTS.search(name) else 1.0 for name in tensors}
    if OUTPUT in tensors and EMBEDDING in tensors:
        share[EMBEDDING] = 1 / tensors[EMBEDDING].rows
    # Prefill computes the logits of the last token only.
    inner = [t for name, t in tensors.items() if name not in (EMBEDDING, OUTPUT) and len(t.shape) > 1]
    counts = {t.name: share[t.name] * t.rows * t.k for t in inner}
    parts: dict[Numbers, float] = {"int8": 0.0, "float16": 0.0, "float32": 0.0}
    for t in inner:
        parts[_numbers(t.format)] += counts[t.name]
    nbytes = sum(share[name] * t.nbytes for name, t in tensors.items())
    return Work(nbytes, sum(counts.values()), max(parts, key=lambda numbers: parts[numbers]))


def _numbers(fmt: type[Format]) -> Numbers:
    if fmt.activations == "q8":
        return "int8"
    return "float16" if fmt.nbytes == 2 * fmt.block else "float32"


def chosen_share(metadata: Mapping[str, Any]) -> float:
    """Share (0..1) of its experts that a token uses."""
    return min((arch_value(metadata, "expert_used_count") or 1) / (arch_value(metadata, "expert_count") or 1), 1.0)
