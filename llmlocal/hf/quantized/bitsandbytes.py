"""bitsandbytes: 4 bits in blocks (NF4, FP4; Dettmers et al. 2023, arXiv 2305.14314) and 8 bits (Dettmers et al. 2022,
arXiv 2208.07339).

    4 bits: x = table[code] * absmax, an absmax for each block of neighbours
    8 bits: x = code * SCB / 127, an SCB for each row

A byte holds two codes of 4 bits, the first in its high bits. With nested quantization absmax is a byte, which stands
for nested_table[byte] * nested_absmax + offset. Sizes are in a JSON text beside the weight (`quant_state`), and the
tables are stored, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, Values
from .weights import QuantizedWeights, stored

METHODS = ("bitsandbytes",)
ABSMAX, TABLE, NESTED, NESTED_TABLE = FOUR_BITS = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map")
STATES = (".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")
SCALES, WEIGHT_FORMAT = EIGHT_BITS = (".SCB", ".weight_format")
LAYOUT = 0  # rows in their order, the only layout of 8 bits that is stored
Floats = NDArray[np.float32]


def decoded(q: QuantizedWeights) -> dict[str, Stream]:
    """The tensors with 4 and 8 bits decoded. Raises BadFileError where parts are missing or do not fit."""
    found, out = q.grouped(*FOUR_BITS, *STATES, *EIGHT_BITS)
    matrices = 0
    for stem, parts in found.items():
        name = f"{stem}.weight" if SCALES in parts or WEIGHT_FORMAT in parts else stem
        packed = out.get(name)
        matrix = _eight_bits(q, name, packed, parts) if name != stem else _four_bits(q, name, packed, parts)
        out[name] = matrix
        matrices += 1
    bare = next((name for name, x in out.items() if x.format in ("U8", "I8")), None)
    if bare is not None:
        raise q.fail(bare, f"is {out[bare].format} and has no scales", "download the missing files")
    if matrices:
        q.note_kept(matrices, 0)
    return out


def _eight_bits(q: QuantizedWeights, name: str, packed: Stream | None, parts: Mapping[str, Stream]) -> Stream:
    x = q.a_matrix(name, packed, "I8")
    scale, layout = parts.get(SCALES), parts.get(WEIGHT_FORMAT)
    if scale is None or scale.blocks is not None or scale.rows * scale.k != x.rows:
        raise q.fail(name.removesuffix(".weight") + SCALES, f"is missing, or does not fit {x.rows} rows")
    if layout is not None and stored(layout).ravel()[:1].tolist() != [LAYOUT]:
        raise q.refuse("the 8 bits of bitsandbytes are stored in an order of the GPU (weight_format)")
    factors = scale.read(0, scale.rows).astype(np.float32).reshape(-1, 1) / np.float32(127)

    def read(first: int, end: int) -> Values:
        values: Values = stored(x, first, end).view(np.int8).astype(np.float32) * factors[first:end]
        return values

    return Stream(x.shape, "F32", read)


def _four_bits(q: QuantizedWeights, name: str, packed: Stream | None, parts: Mapping[str, Stream]) -> Stream:
    state = _state(q, name, parts)
    shape, block = state.get("shape"), _size(q, name, state.get("blocksize"))
    if not isinstance(shape, list) or len(shape) != 2:
        raise q.fail(name, f"has the shape {shape!r:.40} in its quant_state, which is not a matrix")
    rows, k = (_size(q, name, size) for size in shape)
    if rows * k % 2 or packed is None or packed.format != "U8" or packed.rows * packed.k * 2 != rows * k:
        raise q.fail(name, f"is missing, or does not hold the codes of a matrix {rows} x {k}")
    table, scales = _table(q, name + TABLE, parts.get(TABLE), 16), _scales(q, name, parts, state, -(-rows * k // block))
    source = packed

    def read(first: int, end: int) -> Values:
        at, after = first * k, end * k
        data = _bytes(source, at // 2, -(-after // 2))
        codes = np.stack([data >> 4, data & 15], axis=-1).reshape(-1)[at % 2 : at % 2 + after - at]
        with np.errstate(over="ignore"):
            values: Values = (table[codes] * scales[np.arange(at, after) // block]).reshape(end - first, k)
        return values

    return Stream((rows, k), "F32", read)


def _bytes(x: Stream, first: int, end: int) -> NDArray[np.uint8]:
    """Bytes first..end - 1 of a tensor of bytes, whatever its shape."""
    top = first // x.k
    return stored(x, top, -(-end // x.k)).reshape(-1)[first - top * x.k : end - top * x.k]


def _state(q: QuantizedWeights, name: str, parts: Mapping[str, Stream]) -> dict[str, Any]:
    text = next((parts[kind] for kind in STATES if kind in parts), None)
    if text is None or text.format != "U8":
        raise q.fail(name + STATES[0], "is missing", "download the missing files")
    try:
        state = json.loads(stored(text).tobytes())
    except ValueError:
        raise q.fail(name + STATES[0], "is not a JSON text") from None
    if not isinstance(state, dict):
        raise q.fail(name + STATES[0], "is not a JSON object")
    return state


def _size(q: QuantizedWeights, name: str, value: Any) -> int:
    if type(value) is not int or not 0 < value < 1 << 31:
        raise q.fail(name, f"has the size {value!r:.40} in its quant_state")
    return value


def _table(q: QuantizedWeights, name: str, x: Stream | None, size: int) -> Floats:
    found: Floats = q.of_shape(name, x, (size,)).read(0, 1).astype(np.float32)[0]
    return found


def _scales(q: QuantizedWeights, name: str, parts: Mapping[str, Stream], state: dict[str, Any], count: int) -> Floats:
    """The absmax of each block, (count,)."""
    absmax = parts.get(ABSMAX)
    if NESTED not in parts:
        return _table(q, name + ABSMAX, absmax, count)
    size, offset = _size(q, name, state.get("nested_blocksize")), state.get("nested_offset")
    if isinstance(offset, bool) or not isinstance(offset, int | float):
        raise q.fail(name, "has no nested_offset in its quant_state")
    codes = stored(q.of_shape(name + ABSMAX, absmax, (count,), "U8"))[0]
    outer = _table(q, name + NESTED, parts[NESTED], -(-count // size))
    table = _table(q, name + NESTED_TABLE, parts.get(NESTED_TABLE), 256)
    with np.errstate(over="ignore"):
        scales: Floats = table[codes] * outer[np.arange(count) // size] + np.float32(offset)
    return scales
