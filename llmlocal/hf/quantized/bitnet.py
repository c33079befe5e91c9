"""BitNet (Ma et al. 2024, arXiv 2402.17764) as transformers packs it: weights -1, 0 and 1, four in a byte.

    x = (code - 1) * scale, or / scale in the older layers (`linear_class` bitlinear)

Byte r of a column holds rows r, r + n, r + 2n and r + 3n of the weight's 4n rows, the lowest bits first.
"""

from __future__ import annotations

import numpy as np

from ..streams import Stream, Values
from .scaled import times_grid
from .weights import QuantizedWeights, stored

METHODS = ("bitnet",)
WEIGHT, SCALE = PARTS = (".weight", ".weight_scale")
PER_BYTE = 4


def decoded(q: QuantizedWeights) -> dict[str, Stream]:
    """The tensors with weights of three values decoded. Raises BadFileError where scales are missing."""
    if q.config.get("use_rms_norm"):
        raise q.refuse("use_rms_norm of the quantization, a norm before each linear layer, is not supported")
    divides = q.config.get("linear_class", "bitlinear") != "autobitlinear"
    scales, out = q.grouped(SCALE)
    for stem, parts in scales.items():
        name, scale = stem + WEIGHT, parts[SCALE]
        x = q.a_matrix(name, out.get(name), "U8", "F32", "F16", "BF16")
        if scale.rows * scale.k != 1 or scale.blocks is not None:
            raise q.fail(stem + SCALE, f"is {scale.format} of the shape {scale.shape}, must be one float")
        value = float(scale.read(0, 1)[0, 0])
        if not value > 0:
            raise q.fail(stem + SCALE, f"is {value:g}, must be positive")
        if x.format != "U8":
            out[name] = times_grid(q, stem + SCALE, x, scale)
            continue
        out[name] = _ternary(q, name, x, np.float32(1 / value if divides else value))
    if bare := next((name for name, x in out.items() if x.format == "U8"), None):
        raise q.fail(bare.removesuffix(WEIGHT) + SCALE, "is missing", "download the missing files")
    if scales:
        q.s.note(f"{len(scales)} matrices have three values: `llmlocal quantize` to TQ2_0 or TQ1_0 loses nothing")
    return out


def _ternary(q: QuantizedWeights, name: str, x: Stream, scale: np.float32) -> Stream:
    """A matrix (4 * rows, k) of the codes in `x`; a half float holds it if it holds the scale."""
    levels = np.array([-scale, 0, scale, np.nan], np.float32)
    bits = int(levels[2:3].view(np.uint32)[0])
    format = "BF16" if not bits & 0xFFFF else "F16" if np.float16(scale) == scale else "F32"

    def read(first: int, end: int) -> Values:
        pieces = [np.empty((0, x.k), np.float32)]
        while first < end:
            plane, row = divmod(first, x.rows)
            stop = min(x.rows, row + end - first)
            codes = stored(x, row, stop) >> np.uint8(2 * plane) & 3
            if (codes == 3).any():
                raise q.fail(name, "holds a code that is none of the three values")
            pieces.append(levels[codes])
            first += stop - row
        return np.concatenate(pieces)

    return Stream((x.rows * PER_BYTE, x.k), format, read)
