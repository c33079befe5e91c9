"""Whether a GGUF file is whole: its structure and sizes, the parts of a split model, and every number in its tensors.

For files whose SHA-256 nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import BadFileError
from ..gguf import open_gguf
from ..quant.formats import load_all
from ..text import escaped, shown

VALUES = 1 << 22  # that are looked at in one step


def check_intact(path: Path, tell: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Read a whole file; `tell` gets bytes done and their number. Returns the number of tensors.

    Raises NotFoundError, BadFileError for what `open_gguf` refuses and for a tensor with NaN or infinity.
    """
    load_all()
    with open_gguf(path) as gguf:
        total, done = sum(tensor.nbytes for tensor in gguf.tensors.values()), 0
        for tensor in gguf.tensors.values():
            blocks, step = tensor.bytes_array(), max(1, VALUES // tensor.k)
            for first in range(0, tensor.rows, step):
                with np.errstate(all="ignore"):
                    finite = np.isfinite(tensor.format.dequantize(blocks[first : first + step])).all()
                if not finite:
                    raise BadFileError(f"{escaped(str(path))}: tensor {shown(tensor.name)} contains NaN or infinity")
            done += tensor.nbytes
            tell(done, total)
            del blocks
            gguf.forget(tensor)
        return len(gguf.tensors)
