"""GPTQ (Frantar et al. 2022, arXiv 2210.17323) as AutoGPTQ and GPTQModel store it, and AWQ, which differs in order.

    x = scale * (code - zero), a scale and a zero point for each row and group of `group_size` columns

Matrices lie on their side: `qweight` holds the codes of a column of x in each row, packed along the columns of x;
`qzeros` (groups, words) and `scales` (groups, rows). `g_idx` (k,) is the group of each column, in any order with
desc_act. The first version of the format stores zero points minus one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream
from .codes import Bytes, Codes, Scales, packed_words, unpacked
from .weights import QuantizedWeights, stored

METHODS = ("gptq",)
PARTS = (".qweight", ".qzeros", ".scales", ".g_idx")
QWEIGHT, QZEROS, SCALES, GROUPS = PARTS
BITS = (2, 3, 4, 8)
OVERRIDES = ("dynamic", "extra_config")  # of GPTQModel and AutoRound: what differs from module to module
FIRST_VERSION, SECOND_VERSION = "gptq", "gptq_v2"


def decoded(q: QuantizedWeights) -> dict[str, Stream]:
    """The tensors with packed weights decoded. Raises BadFileError for versions that are not supported."""
    version = q.config.get("checkpoint_format") or FIRST_VERSION
    if version not in (FIRST_VERSION, SECOND_VERSION):
        raise q.refuse(f"checkpoint_format {version!r:.40} is not supported")
    bits, size = q.integer("bits"), q.integer("group_size", -1)
    if bits not in BITS:
        raise q.refuse(f"{bits} bits are not supported, GPTQ has {', '.join(map(str, BITS))}")
    found, out = q.grouped(*PARTS)
    for stem, parts in found.items():
        sizes = _own_sizes(q, parts) or (bits, size)
        out[f"{stem}.weight"] = _matrix(q, stem, parts, *sizes, version == FIRST_VERSION)
    q.note_kept(len(found), sum(out[f"{stem}.weight"].blocks is not None for stem in found))
    return out


def _own_sizes(q: QuantizedWeights, parts: Mapping[str, Stream]) -> tuple[int, int] | None:
    """Bits and columns of a group by the shapes alone, where the config may say others for some modules."""
    shapes = [parts[part].shape for part in (QWEIGHT, QZEROS, SCALES) if part in parts]
    if not any(q.config.get(name) for name in OVERRIDES) or [len(shape) for shape in shapes] != [2, 2, 2]:
        return None
    (words, rows), (groups, packed), _ = shapes
    bits = next((n for n in BITS if packed_words(rows, n) == packed), None)
    if bits is None or not groups or (words * 32 // bits) % groups:
        return None
    return bits, words * 32 // bits // groups


def _matrix(
    q: QuantizedWeights, stem: str, parts: Mapping[str, Stream], bits: int, size: int, minus_one: bool
) -> Stream:
    packed, scale = q.a_matrix(stem + QWEIGHT, parts.get(QWEIGHT), "I32"), q.a_matrix(stem + SCALES, parts.get(SCALES))
    rows, k = packed.k, packed.rows * 32 // bits
    group, groups = q.groups(stem + SCALES, k, size, scale.rows)
    q.of_shape(stem + SCALES, scale, (groups, rows))
    zero = q.of_shape(stem + QZEROS, parts.get(QZEROS), (groups, packed_words(rows, bits)), "I32")
    group_of = _group_of(q, stem, parts.get(GROUPS), k, group, groups)

    def turned() -> Bytes:
        return np.ascontiguousarray(stored(packed).view("<u4").T).view(np.uint8)

    def codes(first: int, end: int) -> Bytes:
        return unpacked(q.latest.get(stem, turned)[first:end], bits, k)

    def scales(first: int, end: int) -> Scales:
        zeros = unpacked(stored(zero), bits, rows)[:, first:end].T.astype(np.int32)
        zeros = zeros + 1 & (1 << bits) - 1 if minus_one else zeros
        return scale.read(0, groups)[:, first:end].T.astype(np.float32), zeros

    return Codes((rows, k), bits, group, codes, scales, group_of).stream()


def _group_of(
    q: QuantizedWeights, stem: str, x: Stream | None, k: int, group: int, groups: int
) -> NDArray[np.int64] | None:
    """The group of each column, None where groups are made of neighbours."""
    if x is None:
        if q.config.get("desc_act") is True:
            raise q.fail(stem + GROUPS, "is missing", "download the missing files")
        return None
    found = stored(q.of_shape(stem + GROUPS, x, (k,), "I32"))[0].view("<i4").astype(np.int64)
    if (found == np.arange(k) // group).all():
        return None
    return q.checked_groups(stem + GROUPS, found, groups)
