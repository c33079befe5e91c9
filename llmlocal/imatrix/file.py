"""Importance matrices: for each product the mean square of every column of its input, in llama.cpp's GGUF form.

For a weight NAME a file holds `NAME.in_sum2`, sums of squares (matrices, k) float32, and `NAME.counts`, how many inputs
went into them, (matrices, 1): a matrix for each expert. `imatrix.datasets` names the texts, `imatrix.chunk_count` says
how many chunks of `imatrix.chunk_size` tokens were read; how many of each text, and which text that was, are keys of
our own that others pass over. Knows no model.
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

SUMS, COUNTS = ".in_sum2", ".counts"
DATASETS, CHUNK_COUNT, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
OWN_CHUNKS, OWN_HASHES = "llmlocal.imatrix.file.chunks", "llmlocal.imatrix.file.sha256"


@dataclass(slots=True)
class TextRead:
    """A text that went in: its name, the sha256 of its bytes ("" where nobody noted it), and chunks read of it."""

    name: str
    sha256: str
    chunks: int


@dataclass(slots=True)
class Imatrix:
    """Sums of squares (matrices, k) float64 and counts of inputs (matrices,) float64 by the weight's name."""

    chunk_size: int
    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    counts: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    texts: list[TextRead] = field(default_factory=list)

    @property
    def chunks(self) -> int:
        """Of all texts."""
        return sum(text.chunks for text in self.texts)

    def add(self, name: str, sums: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
        """More inputs of the weight `name`. Raises BadFileError where what is there is of another shape."""
        if name not in self.sums:
            self.sums[name], self.counts[name] = np.zeros(sums.shape), np.zeros(len(counts))
        if self.sums[name].shape != sums.shape:
            held = self.sums[name].shape
            raise BadFileError(f"the matrix holds {held} sums for {shown(name)}, the model has {sums.shape}")
        self.sums[name] += sums
        self.counts[name] += counts

    def means(self, name: str) -> NDArray[np.float32]:
        """Mean squares (matrices, k) of a weight; 1 for a matrix that nothing went into."""
        n = self.counts[name].reshape(-1, 1)
        with np.errstate(all="ignore"):
            return np.where(n > 0, self.sums[name] / n, 1).astype(np.float32)

    def unused(self) -> dict[str, int]:
        """Of the weights with experts that nothing went into: how many those are."""
        return {name: int((n == 0).sum()) for name, n in self.counts.items() if (n == 0).any()}


def read_imatrix(path: Path) -> dict[str, NDArray[np.float32]]:
    """Mean squares by the weight's name, (matrices, k) float32; where nothing was counted all columns count alike.

    Raises BadFileError for another file, NaN or infinity, NotFoundError.
    """
    held = load_imatrix(path)
    return {name: held.means(name) for name in held.sums}


def load_imatrix(path: Path) -> Imatrix:
    """All that a file holds. Raises as `read_imatrix`."""
    where = escaped(str(path))
    with open_gguf(path) as gguf:
        if gguf.metadata.get("general.type") != "imatrix":
            raise BadFileError(f"{where}: no importance matrix (general.type is not imatrix)")
        size = gguf.metadata.get(CHUNK_SIZE)
        found = Imatrix(size if isinstance(size, int) else 0, texts=_texts(gguf))
        for name, tensor in gguf.tensors.items():
            if not name.endswith(SUMS):
                continue
            stem = name.removesuffix(SUMS)
            counts = gguf.tensors.get(stem + COUNTS)
            if counts is None or counts.format.name != "F32" or tensor.format.name != "F32":
                raise BadFileError(f"{where}: {shown(stem)} has no sums and counts in F32")
            sums, n = tensor.dequantize().reshape(-1, tensor.k), counts.dequantize().reshape(-1)
            if len(n) != len(sums) or not (np.isfinite(sums).all() and np.isfinite(n).all()):
                raise BadFileError(f"{where}: {shown(stem)} has counts that do not fit, or NaN, or infinity")
            found.sums[stem], found.counts[stem] = sums.astype(np.float64), n.astype(np.float64)
    if not found.sums:
        raise BadFileError(f"{where}: holds no sums")
    return found


def write_imatrix(path: Path, matrix: Imatrix) -> None:
    """Write a file, in place of one that is there. It appears whole or not at all; raises as `GGUFWriter`."""
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
    """The texts that a file names; where it does not say how many chunks each had, a single one had all of them."""
    names, chunks, hashes = (_listed(gguf, key) for key in (DATASETS, OWN_CHUNKS, OWN_HASHES))
    names = [str(name) for name in names] or ["unknown"]
    counts = [n if isinstance(n, int) else 0 for n in chunks]
    if len(counts) != len(names):
        total = gguf.metadata.get(CHUNK_COUNT)
        counts = [0] * (len(names) - 1) + [total if isinstance(total, int) else 0]
    known = [str(h) for h in hashes] if len(hashes) == len(names) else [""] * len(names)
    return [TextRead(*each) for each in zip(names, known, counts, strict=True)]


def _listed(gguf: GGUFFile, key: str) -> list[Any]:
    value = gguf.metadata.get(key)
    return list(value) if isinstance(value, Array | list) else []
