"""HQQ (Badri and Shaji 2023): codes of 1 to 8 bits with scales and zero points that are floats.

    x = (code - zero) * scale, in groups of `group_size` values

The matrix is stored as a table of codes: a row for each group (`axis` 1), or a column (0). Rows of the table are packed
together: byte r of a column holds rows r, r + n, r + 2n, ... of it, the first in the highest bits. 3 bits lie ten to an
integer of 32. Sizes are tensors beside `W_q`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, Values
from .weights import QuantizedWeights, stored

METHODS = ("hqq",)
CODES, SCALE, ZERO, SHAPE = NEEDED = (".W_q", ".scale", ".zero", ".shape")
NBITS, AXIS, PACKING, AS_FLOAT = SAID = (".nbits", ".axis", ".packing", ".view_as_float")
GROUP = ".group_size"
OTHERS = (
    *(".channel_wise", ".optimize", ".round_zero", ".stores_quant_config", ".encoded_state_dict"),
    *(".offload_meta", ".unpack_view_dtype", ".compute_dtype", ".quant_scale", ".quant_zero"),
)
WIDTHS = {"8bit_u8": 8, "4bit_u8": 4, "2bit_u8": 2, "1bit_u8": 1, "3bit_32": 3}  # bits of a code by packing
Floats = NDArray[np.float32]


def decoded(q: QuantizedWeights) -> dict[str, Stream]:
    """The tensors with packed codes decoded. Raises BadFileError where parts are missing or do not fit."""
    stems = {name.removesuffix(CODES) for name in q.tensors if name.endswith(CODES)}
    found, out = q.grouped(*NEEDED, *SAID, GROUP, *OTHERS)
    for stem, parts in found.items():
        if stem in stems:
            out[f"{stem}.weight"] = _matrix(q, stem, parts)
        else:
            out |= {stem + ending: x for ending, x in parts.items()}
    if stems:
        q.note_kept(len(stems), 0)
    return out


def _matrix(q: QuantizedWeights, stem: str, parts: Mapping[str, Stream]) -> Stream:
    rows, k = _shape(q, stem, parts.get(SHAPE))
    packing, axis = _text(q, stem, parts), _number(q, stem + AXIS, parts.get(AXIS))
    if packing not in WIDTHS or axis not in (0, 1):
        raise q.refuse(f"packing {packing!r:.40} along axis {axis} is not supported")
    if AS_FLOAT in parts and _number(q, stem + AS_FLOAT, parts[AS_FLOAT]):
        raise q.refuse("codes that are stored as floats (view_as_float) are not supported")
    bits = WIDTHS[packing]
    packed = q.a_matrix(stem + CODES, parts.get(CODES), "I32" if bits == 3 else "U8")
    scale, zero = (_floats(q, stem + name, parts.get(name)) for name in (SCALE, ZERO))
    group = rows * k // max(scale.size, 1)
    table = (scale.size, group) if axis == 1 else (group, scale.size)
    each = 10 if bits == 3 else 8 // bits
    if table[0] * table[1] != rows * k or zero.size not in (1, scale.size):
        raise q.fail(stem + SCALE, f"has {scale.size} scales and {zero.size} zero points for a matrix {rows} x {k}")
    if packed.shape != (-(-table[0] // each), table[1]):
        raise q.fail(stem + CODES, f"has the shape {packed.shape}, which does not fit codes of {table}")

    def values() -> NDArray[np.uint8]:
        words = stored(packed).view("<i4") if bits == 3 else stored(packed)
        codes = np.concatenate([words >> bits * (each - 1 - i) & (1 << bits) - 1 for i in range(each)])[: table[0]]
        across = (-1, 1) if axis == 1 else (1, -1)
        with np.errstate(over="ignore", invalid="ignore"):
            found: Floats = (codes.astype(np.float32) - zero.reshape(across)) * scale.reshape(across)
        return found.reshape(rows, k).view(np.uint8)

    def read(first: int, end: int) -> Values:
        whole: Values = q.latest.get(stem, values).view(np.float32)[first:end]
        return whole

    return Stream((rows, k), "F32", read)


def _floats(q: QuantizedWeights, name: str, x: Stream | None) -> Floats:
    if x is None or x.blocks is not None:
        raise q.fail(name, "is missing, or is quantized itself", "download the missing files")
    return x.read(0, x.rows).astype(np.float32).reshape(-1)


def _shape(q: QuantizedWeights, stem: str, x: Stream | None) -> tuple[int, int]:
    sizes = _integers(x)
    if len(sizes) != 2 or not all(0 < size < 1 << 31 for size in sizes):
        raise q.fail(stem + SHAPE, "is missing, or does not name two sizes", "download the missing files")
    return sizes[0], sizes[1]


def _number(q: QuantizedWeights, name: str, x: Stream | None) -> int:
    found = _integers(x)
    if len(found) != 1:
        raise q.fail(name, "is missing, or is not a single number", "download the missing files")
    return found[0]


def _integers(x: Stream | None) -> list[int]:
    kinds = {"I64": "<i8", "I32": "<i4", "U8": "u1"}
    if x is None or x.format not in kinds:
        return []
    found: list[int] = stored(x).view(kinds[x.format]).reshape(-1).tolist()
    return found


def _text(q: QuantizedWeights, stem: str, parts: Mapping[str, Stream]) -> str:
    x = parts.get(PACKING)
    if x is None or x.format != "U8":
        raise q.fail(stem + PACKING, "is missing", "download the missing files")
    return stored(x).tobytes().decode("latin-1")
