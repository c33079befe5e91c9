"""Importance matrix files: for each matmul the mean square of every input column, in llama.cpp's GGUF layout.

The older binary layout is read only (`legacy`).

For a weight NAME a file has `NAME.in_sum2`, sums of squares (matrices, k) float32, and `NAME.counts`, the number of
inputs summed, (matrices, 1): one matrix per expert. `imatrix.datasets` names the texts, `imatrix.chunk_count` counts
the chunks of `imatrix.chunk_size` tokens. Chunks per text and hashes of the texts are keys of our own, which other
tools ignore.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError
from ..gguf import Array, GGUFFile, ValueType, open_gguf, write_gguf
from ..quant.format import BY_NAME
from ..quant.formats import load_all
from ..quant.tensor import QTensor
from ..text import escaped, shown
from .legacy import LegacyImatrix, is_legacy, read_legacy

SUMS, COUNTS = ".in_sum2", ".counts"
DATASETS, CHUNK_COUNT, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
UNKNOWN_TEXT = "unknown"  # the name of a text that a file does not record
OWN_CHUNKS, OWN_HASHES = "llmlocal.imatrix.file.chunks", "llmlocal.imatrix.file.sha256"


@dataclass(slots=True)
class TextRead:
    """An evaluated text: its name, the sha256 of its bytes ("" where unknown), and the number of chunks read."""

    name: str
    sha256: str
    chunks: int


@dataclass(slots=True)
class Imatrix:
    """Sums of squares (matrices, k) float64 and counts of inputs (matrices,) float64 by weight name."""

    chunk_size: int
    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    counts: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    texts: list[TextRead] = field(default_factory=list)

    @property
    def chunks(self) -> int:
        """Chunks of all texts together."""
        return sum(text.chunks for text in self.texts)

    def add(self, name: str, sums: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
        """Add sums (matrices, k) and counts (matrices,) of a weight. Raises BadFileError where the shapes differ."""
        if name not in self.sums:
            self.sums[name], self.counts[name] = np.zeros(sums.shape), np.zeros(len(counts))
        if self.sums[name].shape != sums.shape:
            held = self.sums[name].shape
            raise BadFileError(f"{shown(name)} has shape {held} in the importance matrix, {sums.shape} in the model")
        self.sums[name] += sums
        self.counts[name] += counts

    def means(self, name: str) -> NDArray[np.float32]:
        """Mean squares (matrices, k) float32 of a weight; 1 for a matrix without inputs."""
        n = self.counts[name].reshape(-1, 1)
        with np.errstate(all="ignore"):
            return np.where(n > 0, self.sums[name] / n, 1).astype(np.float32)

    def unused(self) -> dict[str, int]:
        """Number of matrices (experts) without inputs, by weight name, where there are any."""
        return {name: int((n == 0).sum()) for name, n in self.counts.items() if (n == 0).any()}


def load_imatrix(path: Path) -> Imatrix:
    """The content of a GGUF file, or of one in llama-imatrix's older binary form (.dat).

    Raises NotFoundError, or BadFileError for another kind of file, NaN or infinity.
    """
    if is_legacy(path):
        return _from_legacy(read_legacy(path))
    where = escaped(str(path))
    with open_gguf(path) as gguf:
        if gguf.metadata.get("general.type") != "imatrix":
            raise BadFileError(f"{where}: not an importance matrix (general.type is not imatrix)")
        size = gguf.metadata.get(CHUNK_SIZE)
        found = Imatrix(size if isinstance(size, int) else 0, texts=_texts(gguf))
        for name, tensor in gguf.tensors.items():
            if not name.endswith(SUMS):
                continue
            stem = name.removesuffix(SUMS)
            counts = gguf.tensors.get(stem + COUNTS)
            if counts is None or counts.format.name != "F32" or tensor.format.name != "F32":
                raise BadFileError(f"{where}: {shown(stem)} lacks sums and counts in F32")
            sums, n = tensor.dequantize().reshape(-1, tensor.k), counts.dequantize().reshape(-1)
            if len(n) != len(sums) or not (np.isfinite(sums).all() and np.isfinite(n).all()):
                raise BadFileError(f"{where}: {shown(stem)} has mismatched counts, NaN or infinity")
            found.sums[stem], found.counts[stem] = sums.astype(np.float64), n.astype(np.float64)
    if not found.sums:
        raise BadFileError(f"{where}: contains no sums")
    return found


def _from_legacy(held: LegacyImatrix) -> Imatrix:
    """The size of its chunks is not known (0), and experts of a weight are one row."""
    found = Imatrix(0, texts=[TextRead(held.dataset or UNKNOWN_TEXT, "", held.chunks)])
    for name, weight in held.weights.items():
        found.sums[name] = weight.sums.astype(np.float64).reshape(1, -1)
        found.counts[name] = np.array([float(weight.calls)])
    return found


def write_imatrix(path: Path, matrix: Imatrix) -> None:
    """Write a file atomically, replacing an existing one. Raises as `GGUFWriter`."""
    load_all()
    metadata: dict[str, Any] = {
        "general.type": "imatrix",
        DATASETS: (ValueType.STRING, [text.name for text in matrix.texts]),
        CHUNK_COUNT: matrix.chunks,
        CHUNK_SIZE: matrix.chunk_size,
        OWN_CHUNKS: (ValueType.U32, [text.chunks for text in matrix.texts]),
        OWN_HASHES: (ValueType.STRING, [text.sha256 for text in matrix.texts]),
    }
    tensors = []
    for name in sorted(matrix.sums):
        tensors.append(_tensor(name + SUMS, matrix.sums[name]))
        tensors.append(_tensor(name + COUNTS, matrix.counts[name].reshape(-1, 1)))
    write_gguf(path, metadata, tensors)


def _tensor(name: str, values: NDArray[Any]) -> QTensor:
    data = np.ascontiguousarray(values, np.float32)
    return QTensor(name, BY_NAME["F32"], data.shape, memoryview(data.tobytes()))


def _texts(gguf: GGUFFile) -> list[TextRead]:
    """The texts that a file names; without chunks per text, the last text gets all of them."""
    names, chunks, hashes = (_listed(gguf, key) for key in (DATASETS, OWN_CHUNKS, OWN_HASHES))
    names = [str(name) for name in names] or [UNKNOWN_TEXT]
    counts = [n if isinstance(n, int) else 0 for n in chunks]
    if len(counts) != len(names):
        total = gguf.metadata.get(CHUNK_COUNT)
        counts = [0] * (len(names) - 1) + [total if isinstance(total, int) else 0]
    known = [str(h) for h in hashes] if len(hashes) == len(names) else [""] * len(names)
    return [TextRead(*each) for each in zip(names, known, counts, strict=True)]


def _listed(gguf: GGUFFile, key: str) -> list[Any]:
    value = gguf.metadata.get(key)
    return list(value) if isinstance(value, Array | list) else []
