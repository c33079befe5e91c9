"""Tensors of a file by name, checked against the shape that the hyperparameters require."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError
from ..quant.tensor import QTensor
from ..text import escaped
from .expert_matrices import ExpertLinear, ExpertMatrices


class NamedTensors(Protocol):
    """An open GGUF file, or one that is planned."""

    @property
    def path(self) -> Path: ...
    @property
    def tensors(self) -> dict[str, QTensor]: ...


class Weights:
    """The tensors of an open file whose names begin with `prefix`; `used` collects those that a model asked for."""

    def __init__(self, gguf: NamedTensors, prefix: str = "", used: dict[str, QTensor] | None = None) -> None:
        self.gguf, self.prefix = gguf, prefix
        self.used: dict[str, QTensor] = {} if used is None else used

    def block(self, i: int) -> Weights:
        """The tensors of block `i`, by their names without its prefix."""
        return Weights(self.gguf, f"blk.{i}.", self.used)

    def part(self, prefix: str) -> Weights:
        """The tensors whose names go on with `prefix`, by the rest of their names."""
        return Weights(self.gguf, self.prefix + prefix, self.used)

    def has(self, name: str) -> bool:
        """Whether the file has this tensor."""
        return self.prefix + name in self.gguf.tensors

    def rows(self, name: str) -> int:
        """Rows of a matrix whose number no key tells; 0 where the file does not have it, which `matrix` refuses."""
        tensor = self.gguf.tensors.get(self.prefix + name)
        return tensor.shape[-2] if tensor is not None and len(tensor.shape) > 1 else 0

    def matrix(self, name: str, *shape: int) -> QTensor:
        """A matrix (rows, k) or matrices (count, rows, k) of any format that can be multiplied.

        Raises BadFileError if it is missing or has another shape or format.
        """
        tensor = self._checked(name, shape)
        if not tensor.format.activations:
            raise self.fail(f"tensor '{tensor.name}' is {tensor.format.name}, which cannot be multiplied")
        return tensor

    def table(self, name: str, k: int) -> QTensor:
        """As `matrix`, of any number of rows."""
        found = self.gguf.tensors.get(self.prefix + name)
        return self.matrix(name, found.rows if found is not None else 1, k)

    def vector(self, name: str, *shape: int) -> QTensor:
        """A vector (n,) or vectors (count, n) in F32.

        Raises BadFileError if it is missing, has another shape or format, or a value that is not finite.
        """
        tensor = self._checked(name, shape)
        if tensor.format.id != 0:
            raise self.fail(f"tensor '{tensor.name}' is {tensor.format.name}, must be F32")
        if not np.isfinite(tensor.dequantize()).all():
            raise self.fail(f"tensor '{tensor.name}' holds a value that is not finite")
        return tensor

    def numbers(self, name: str, n: int) -> NDArray[np.float32]:
        """`n` numbers, which may be stored as integers. Raises BadFileError if there are more or less, or none."""
        return self._checked(name, (n,)).dequantize()

    def maybe_vector(self, name: str, *shape: int) -> QTensor | None:
        """As `vector`, but None if the file does not have it."""
        return self.vector(name, *shape) if self.has(name) else None

    def linear(self, name: str, rows: int, k: int) -> tuple[QTensor, QTensor | None]:
        """Weight and bias of a linear layer: `name`.weight (rows, k), and `name`.bias (rows,) if the file has it."""
        return self.matrix(f"{name}.weight", rows, k), self.maybe_vector(f"{name}.bias", rows)

    def stack(self, name: str, count: int, rows: int, k: int) -> ExpertLinear:
        """As `linear` for `count` experts: `name`_exps.weight (count, rows, k), .bias (count, rows), .scale (count,).

        Files of 2023 have a tensor for each expert, `name`.0.weight (rows, k) and so on.
        """
        if not self.has(f"{name}_exps.weight") and self.has(f"{name}.0.weight"):
            return ExpertLinear(self._single_experts(name, count, rows, k))
        weights = ExpertMatrices.stacked(self.matrix(f"{name}_exps.weight", count, rows, k))
        biases, scales = self.maybe_vector(f"{name}_exps.bias", count, rows), f"{name}_exps.scale"
        return ExpertLinear(weights, biases, self.maybe_vector(scales, count))

    def _single_experts(self, name: str, count: int, rows: int, k: int) -> ExpertMatrices:
        tensors = [self.matrix(f"{name}.{i}.weight", rows, k) for i in range(count)]
        odd = next((t for t in tensors if t.format is not tensors[0].format), None)
        if odd is not None:
            formats = f"{odd.format.name} and '{tensors[0].name}' {tensors[0].format.name}"
            raise self.fail(f"tensor '{odd.name}' is {formats}; experts of a layer must have one type")
        return ExpertMatrices.single(tensors)

    def first_not_finite(self) -> str | None:
        """Name of the first used tensor with a value that is not finite, or None. Reads all used tensors."""
        for name, tensor in self.used.items():
            step = max(1, (1 << 22) // tensor.k)
            rows = tensor.bytes_array()
            for i in range(0, tensor.rows, step):
                if not np.isfinite(tensor.format.dequantize(rows[i : i + step])).all():
                    return name
        return None

    def not_finite(self, seen: str) -> BadFileError:
        """The error to raise where a run gave infinity or NaN: it names the tensor that holds one, or says `seen`."""
        tensor = self.first_not_finite()
        cause = f"tensor '{tensor}' holds a value that is not finite" if tensor else seen
        hint = "the file is damaged or was converted wrongly; get it again"
        return BadFileError(f"{escaped(str(self.gguf.path))}: {cause}", hint)

    def _checked(self, name: str, shape: tuple[int, ...]) -> QTensor:
        name = self.prefix + name
        tensor = self.gguf.tensors.get(name)
        if tensor is None:
            raise self.fail(f"tensor '{name}' is missing")
        outer = len(tensor.shape) - len(shape)
        if tensor.shape != (1,) * outer + shape:  # leading dimensions of 1 are accepted
            raise self.fail(f"tensor '{name}' is {tensor.shape}, must be {shape}")
        self.used[name] = tensor = replace(tensor, shape=shape)
        return tensor

    def fail(self, what: str) -> BadFileError:
        """The error to raise for a file that is wrong: `what` is the problem."""
        return BadFileError(f"{self.gguf.path}: {what}", "the file is damaged or was converted wrongly; get it again")
