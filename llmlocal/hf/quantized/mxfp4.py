"""MXFP4 as gpt-oss stores it: `NAME_blocks` of 4-bit floats, two in a byte, and `NAME_scales`, powers of two.

compressed-tensors has the same under other names.

The blocks are those of GGUF's MXFP4 in another order of nibbles, so tensors keep their bits. Read as numbers they are
OCP Microscaling Formats 1.0: x = 2^(scale - 127) * E2M1.
"""

from __future__ import annotations

import numpy as np

from ...quant.format import BY_NAME
from ..streams import Stream, Values, transposed
from .codes import BLOCK, Bytes
from .weights import QuantizedWeights, stored

METHODS = ("mxfp4",)
BLOCKS, SCALES = PARTS = ("_blocks", "_scales")


def decoded(q: QuantizedWeights) -> dict[str, Stream]:
    """The tensors, those in MXFP4 as blocks of GGUF's format. Raises BadFileError where scales are missing."""
    found, out = q.grouped(*PARTS)
    for stem, parts in found.items():
        names = (stem + BLOCKS, stem + SCALES)
        out[stem] = transposed(matrices(q, names, parts.get(BLOCKS), parts.get(SCALES), dims=3))
    q.note_kept(len(found), len(found))
    return out


def matrices(
    q: QuantizedWeights, names: tuple[str, str], blocks: Stream | None, scale: Stream | None, *, dims: int
) -> Stream:
    """Matrices (experts, rows, k), or one with 2 `dims`. transformers' own of gpt-oss are (experts, k, rows).

    `names` are those of blocks and scales. Raises BadFileError where one is missing or does not fit.
    """
    if scale is None or len(scale.shape) != dims or 0 in scale.shape or scale.format != "U8":
        sizes = "(experts, rows, blocks)" if dims > 2 else "(rows, blocks)"
        raise q.fail(names[1], f"is missing, or not U8 {sizes}", "download the missing files")
    halves, outer = BLOCK // 2, scale.shape[:-1]
    shapes = ((*scale.shape, halves), (*outer, scale.k * halves))
    if blocks is None or blocks.shape not in shapes or blocks.format != "U8":
        raise q.fail(names[0], f"is missing, or not U8 of the shape {shapes[0]}", "download the missing files")
    format = BY_NAME["MXFP4"]
    per_row = scale.k if len(blocks.shape) > dims else 1

    def rows(first: int, end: int) -> Bytes:
        pairs = stored(blocks, first * per_row, end * per_row).reshape(-1, halves)
        values = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(-1, BLOCK)
        whole = [stored(scale, first, end).reshape(-1, 1), values[:, :halves] | values[:, halves:] << 4]
        return np.concatenate(whole, axis=1).reshape(end - first, -1)

    def read(first: int, end: int) -> Values:
        values: Values = format.dequantize(rows(first, end))
        return values

    bytes_of = Stream((*outer, scale.k * format.nbytes), "U8", rows)
    return Stream((*outer, scale.k * BLOCK), "MXFP4", read, bytes_of)
