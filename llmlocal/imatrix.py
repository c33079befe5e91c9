"""Importance matrices: for each product the mean square of every column of its input, in llama.cpp's GGUF form.

For a weight NAME a file holds `NAME.in_sum2`, sums of squares (matrices, k) float32, and `NAME.counts`, how many inputs
went into them, (matrices, 1): a matrix for each expert. Knows no model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import BadFileError
from .gguf import open_gguf
from .gguf.values import escaped, shown

SUMS, COUNTS = ".in_sum2", ".counts"


def read_imatrix(path: Path) -> dict[str, NDArray[np.float32]]:
    """Mean squares by the weight's name, (matrices, k) float32; where nothing was counted all columns count alike.

    Raises BadFileError for another file, NaN or infinity, NotFoundError.
    """
    where = escaped(str(path))
    found = {}
    with open_gguf(path) as gguf:
        if gguf.metadata.get("general.type") != "imatrix":
            raise BadFileError(f"{where}: no importance matrix (general.type is not imatrix)")
        for name, tensor in gguf.tensors.items():
            if not name.endswith(SUMS):
                continue
            stem = name.removesuffix(SUMS)
            counts = gguf.tensors.get(stem + COUNTS)
            if counts is None or counts.format.name != "F32" or tensor.format.name != "F32":
                raise BadFileError(f"{where}: {shown(stem)} has no sums and counts in F32")
            sums, n = tensor.dequantize().reshape(-1, tensor.k), counts.dequantize().reshape(-1, 1)
            if len(n) != len(sums) or not (np.isfinite(sums).all() and np.isfinite(n).all()):
                raise BadFileError(f"{where}: {shown(stem)} has counts that do not fit, or NaN, or infinity")
            with np.errstate(all="ignore"):
                found[stem] = np.where(n > 0, sums / n, np.float32(1)).astype(np.float32)
    if not found:
        raise BadFileError(f"{where}: holds no sums")
    return found
