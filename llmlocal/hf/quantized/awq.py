"""AWQ (Lin et al. 2023, arXiv 2306.00978) in the order of its matrix product "gemm": 4 bits.

    x = scale * (code - zero), a scale and a zero point for each row and group of `group_size` columns

As GPTQ it stores matrices on their side, but packs them along the rows of x, eight in a word: `qweight` (k, words),
`qzeros` (groups, words), `scales` (groups, rows). Within a word the rows are in the order ORDER.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..streams import Stream
from .codes import Bytes, Codes, Scales, unpacked
from .weights import QuantizedWeights, stored

METHODS = ("awq",)
PARTS = (".qweight", ".qzeros", ".scales")
QWEIGHT, QZEROS, SCALES = PARTS
ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # which nibble of a word holds each of its rows
BITS, PER_WORD = 4, 8


def decoded(q: QuantizedWeights) -> dict[str, Stream]:
    """The tensors with packed weights decoded. Raises BadFileError for versions that are not supported."""
    bits, version = q.integer("bits", q.integer("w_bit", BITS)), q.config.get("version", q.config.get("format", "gemm"))
    if bits != BITS or str(version).lower() != "gemm":
        raise q.refuse(f"AWQ of {bits} bits and version {version!r:.40} is not supported, 4 bits and gemm are")
    size = q.integer("group_size", q.integer("q_group_size", 128))
    found, out = q.grouped(*PARTS)
    for stem, parts in found.items():
        out[f"{stem}.weight"] = _matrix(q, stem, parts, size)
    q.note_kept(len(found), sum(out[f"{stem}.weight"].blocks is not None for stem in found))
    return out


def _matrix(q: QuantizedWeights, stem: str, parts: Mapping[str, Stream], size: int) -> Stream:
    packed, scale = q.a_matrix(stem + QWEIGHT, parts.get(QWEIGHT), "I32"), q.a_matrix(stem + SCALES, parts.get(SCALES))
    rows, k = packed.k * PER_WORD, packed.rows
    group, groups = q.groups(stem + SCALES, k, size, scale.rows)
    q.of_shape(stem + SCALES, scale, (groups, rows))
    zero = q.of_shape(stem + QZEROS, parts.get(QZEROS), (groups, packed.k), "I32")

    def turned() -> Bytes:
        return np.ascontiguousarray(_in_order(stored(packed)).T)

    def codes(first: int, end: int) -> Bytes:
        return q.latest.get(stem, turned)[first:end]

    def scales(first: int, end: int) -> Scales:
        zeros = _in_order(stored(zero))[:, first:end].T.astype(np.int32)
        return scale.read(0, groups)[:, first:end].T.astype(np.float32), zeros

    return Codes((rows, k), BITS, group, codes, scales).stream()


def _in_order(words: Bytes) -> Bytes:
    """The codes of words (n, bytes), (n, 2 * bytes), in the order of the rows that they belong to."""
    codes = unpacked(words, BITS, 2 * words.shape[1]).reshape(len(words), -1, PER_WORD)
    return codes[:, :, ORDER].reshape(len(words), -1)
