"""Tensors by name, each checked against the shape that the hyper-parameters ask for. Knows no architecture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import BadFileError
from ..gguf.reader import GGUFFile
from ..quant.tensor import QTensor


class Weights:
    """The tensors of an open file, those whose names begin with `prefix`. `used` collects what a model asked for."""

    def __init__(self, gguf: GGUFFile, prefix: str = "", used: dict[str, QTensor] | None = None) -> None:
        self.gguf, self.prefix = gguf, prefix
        self.used: dict[str, QTensor] = {} if used is None else used

    def block(self, i: int) -> Weights:
        """The tensors of the i-th block, by their names within it."""
        return Weights(self.gguf, f"blk.{i}.", self.used)

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return self.prefix + name in self.gguf.tensors

    def matrix(self, name: str, *shape: int) -> QTensor:
        """A (rows, k) matrix, or several. Raises BadFileError where it is missing, of another shape, or only stored."""
        tensor = self._checked(name, shape)
        if not tensor.format.activations:
            raise self._fail(f"tensor '{tensor.name}' is {tensor.format.name}, which cannot be multiplied")
        return tensor

    def vector(self, name: str, *shape: int) -> QTensor:
        """A vector in F32, or several under each other, all finite. Raises BadFileError."""
        tensor = self._checked(name, shape)
        if tensor.format.id != 0:
            raise self._fail(f"tensor '{tensor.name}' is {tensor.format.name}, must be F32")
        if not np.isfinite(tensor.dequantize()).all():
            raise self._fail(f"tensor '{tensor.name}' holds a value that is not finite")
        return tensor

    def maybe_vector(self, name: str, *shape: int) -> QTensor | None:
        """As `vector`, None where the file has no such tensor."""
        return self.vector(name, *shape) if self.has(name) else None

    def maybe_matrix(self, name: str, rows: int, k: int) -> QTensor | None:
        """As `matrix`, None where the file has no such tensor."""
        return self.matrix(name, rows, k) if self.has(name) else None

    def linear(self, name: str, rows: int, k: int) -> tuple[QTensor, QTensor | None]:
        """What a product takes: `name.weight` (rows, k), and `name.bias` (rows,) where the file has it."""
        return self.matrix(f"{name}.weight", rows, k), self.maybe_vector(f"{name}.bias", rows)

    def stack(self, name: str, count: int, rows: int, k: int) -> tuple[QTensor, QTensor | None]:
        """As `linear` for `count` matrices in one tensor (count, rows, k), with biases (count, rows)."""
        return self.matrix(f"{name}.weight", count, rows, k), self.maybe_vector(f"{name}.bias", count, rows)

    def first_not_finite(self) -> str | None:
        """Name of the first tensor in use with a value that is not finite, or None. Reads all of them."""
        for name, tensor in self.used.items():
            step = max(1, (1 << 22) // tensor.k)
            rows = tensor.bytes_array()
            for i in range(0, tensor.rows, step):
                if not np.isfinite(tensor.format.dequantize(rows[i : i + step])).all():
                    return name
        return None

    def _checked(self, name: str, shape: tuple[int, ...]) -> QTensor:
        name = self.prefix + name
        tensor = self.gguf.tensors.get(name)
        if tensor is None:
            raise self._fail(f"tensor '{name}' is missing")
        outer = len(tensor.shape) - len(shape)
        if tensor.shape != (1,) * outer + shape:  # dimensions of 1 around it say nothing
            raise self._fail(f"tensor '{name}' is {tensor.shape}, must be {shape}")
        self.used[name] = tensor = replace(tensor, shape=shape)
        return tensor

    def _fail(self, what: str) -> BadFileError:
        return BadFileError(f"{self.gguf.path}: {what}", "the file is damaged or was converted wrongly; get it again")
