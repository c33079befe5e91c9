"""compressed-tensors (llm-compressor, vLLM): FP8 and int8 as they are, or integers of 1 to 8 bits packed into words.

    x = scale * (code - zero), with a scale for the tensor, for each row, or for groups of a row

Packed codes are offset by 2^(bits - 1) and follow each other without gaps, the lowest bits first. Floats of 4 bits are
packed, too: MXFP4, and NVFP4 with the inverse of its factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream
from . import mxfp4, nvfp4
from .codes import Bytes, Codes, Scales, packed_words, unpacked
from .scaled import grid, inverse, scales_of, times_grid
from .weights import QuantizedWeights, stored

METHODS = ("compressed-tensors",)
FORMATS = (
    *("pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "dense", "mixed-precision"),
    *("nvfp4-pack-quantized", "mxfp4-pack-quantized"),
)
PARTS = tuple(f".weight_{part}" for part in ("packed", "scale", "zero_point", "shape", "g_idx", "global_scale"))
PACKED, SCALE, ZERO, SHAPE, GROUPS, GLOBAL = PARTS


def decoded(q: QuantizedWeights) -> dict[str, Stream]:
    """The tensors with compressed weights decoded. Raises BadFileError for formats that are not supported."""
    groups = list(_groups(q))
    for format in (q.config.get("format"), *(group.get("format") for group in groups)):
        if format is not None and format not in FORMATS:
            raise q.refuse(f"compressed-tensors' format {format!r:.40} is not supported")
    sparsity = q.config.get("sparsity_config") or {}
    if q.config.get("transform_config") or (isinstance(sparsity, dict) and sparsity.get("format", "dense") != "dense"):
        raise q.refuse("compressed-tensors' transforms and sparse weights are not supported")
    found, out = q.grouped(*PARTS)
    for stem, parts in found.items():
        name = f"{stem}.weight"
        if SCALE not in parts:
            raise q.fail(stem + SCALE, "is missing", "download the missing files")
        if (PACKED in parts) is (name in out):
            raise q.fail(name, "is missing, or there twice", "download the files again")
        if PACKED in parts:
            pack = _four_bit_floats if parts[PACKED].format == "U8" else _packed
            out[name] = pack(q, stem, parts, groups)
        elif out[name].format == "I8":
            out[name] = _integers(q, stem, out[name], parts)
        else:
            out[name] = times_grid(q, stem + SCALE, out[name], parts[SCALE], _block(groups))
    kept = sum(out[f"{stem}.weight"].blocks is not None for stem in found)
    q.note_kept(len(found), kept)
    return out


def _groups(q: QuantizedWeights) -> Iterator[Mapping[str, Any]]:
    """What the config says of each group of modules."""
    groups = q.config.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        if isinstance(group, dict):
            yield group


def _weights(group: Mapping[str, Any]) -> Mapping[str, Any]:
    weights = group.get("weights")
    return weights if isinstance(weights, dict) else {}


def _block(groups: list[Mapping[str, Any]]) -> tuple[int, int] | None:
    """The size of blocks that share a scale, if the config says one."""
    for group in groups:
        match _weights(group).get("block_structure"):
            case [int(rows), int(columns)] if rows > 0 and columns > 0:
                return rows, columns
    return None


def _four_bit_floats(
    q: QuantizedWeights, stem: str, parts: Mapping[str, Stream], groups: list[Mapping[str, Any]]
) -> Stream:
    """Codes of E2M1 in bytes, (rows, bytes)."""
    factor, names = parts.get(GLOBAL), (stem + PACKED, stem + SCALE, stem + GLOBAL)
    if factor is None and not any(_weights(group).get("group_size") == nvfp4.GROUP for group in groups):
        return mxfp4.matrices(q, names[:2], parts[PACKED], parts[SCALE], dims=2)
    return nvfp4.matrix(q, names, parts[PACKED], parts[SCALE], factor and inverse(factor))


def _packed(q: QuantizedWeights, stem: str, parts: Mapping[str, Stream], groups: list[Mapping[str, Any]]) -> Stream:
    """Codes in words of 32 bits, (rows, words)."""
    packed, name = parts[PACKED], stem + PACKED
    sizes = q.of_shape(stem + SHAPE, parts.get(SHAPE), (2,), "I64", "I32")
    rows, k = (int(n) for n in stored(sizes)[0].view("<i8" if sizes.format == "I64" else "<i4"))
    possible = {n for group in groups if type(n := _weights(group).get("num_bits")) is int and 1 <= n <= 8}
    if len(packed.shape) != 2 or packed.shape[0] != rows or packed.format != "I32" or k < 1:
        raise q.fail(name, f"is {packed.format} of the shape {packed.shape} for a weight of ({rows}, {k})")
    fitting = {n for n in possible if packed_words(k, n) == packed.k}
    if len(fitting) != 1:
        raise q.fail(name, f"has {packed.k} words in a row for {k} values, which num_bits does not say")
    bits = fitting.pop()
    return _stream(q, stem, (rows, k), bits, lambda first, end: unpacked(stored(packed, first, end), bits, k), parts)


def _integers(q: QuantizedWeights, stem: str, x: Stream, parts: Mapping[str, Stream]) -> Stream:
    """Codes as bytes, int8 (rows, k)."""
    if len(x.shape) != 2 or 0 in x.shape:
        raise q.fail(f"{stem}.weight", f"has the shape {x.shape}, which is not a matrix")
    return _stream(q, stem, (x.rows, x.k), 8, lambda first, end: stored(x, first, end) ^ np.uint8(128), parts)


def _stream(
    q: QuantizedWeights, stem: str, shape: tuple[int, int], bits: int, codes: Any, parts: Mapping[str, Stream]
) -> Stream:
    scale, zero, offset = parts[SCALE], parts.get(ZERO), 1 << bits - 1
    if scale.blocks is not None:
        raise q.fail(stem + SCALE, f"is {scale.format}, must be a float")
    down, across = grid(q, stem + SCALE, shape, scale, None)
    counts = (-(-shape[0] // down), -(-shape[1] // across))
    zeros = _zeros(q, stem, zero, counts, bits) if zero is not None else None
    if zeros is None and all(_weights(group).get("symmetric") is False for group in _groups(q)):
        raise q.fail(stem + ZERO, "is missing", "download the missing files")
    group_of = _group_of(q, stem, parts.get(GROUPS), shape[1], counts[1])

    def scales(first: int, end: int) -> Scales:
        found = scales_of(scale, shape, (down, across), first, end)
        if zeros is None:
            return found, np.full(found.shape, offset, np.int32)
        return found, zeros[np.arange(first, end) // down]

    return Codes(shape, bits, across, codes, scales, group_of).stream()


def _zeros(q: QuantizedWeights, stem: str, zero: Stream, counts: tuple[int, int], bits: int) -> NDArray[np.int32]:
    """Zero points (rows of scales, groups), packed along the rows or int8, as codes: 2^(bits - 1) stands for 0."""
    name = stem + ZERO
    if zero.format == "I8":
        if zero.rows * zero.k != counts[0] * counts[1]:
            raise q.fail(name, f"has the shape {zero.shape}, must be {counts}")
        return stored(zero).view(np.int8).reshape(counts).astype(np.int32) + (1 << bits - 1)
    q.of_shape(name, zero, (packed_words(counts[0], bits), counts[1]), "I32")
    columns: Bytes = np.ascontiguousarray(stored(zero).view("<u4").T).view(np.uint8)
    return unpacked(columns, bits, counts[0]).T.astype(np.int32)


def _group_of(q: QuantizedWeights, stem: str, x: Stream | None, k: int, groups: int) -> NDArray[np.int64] | None:
    """The group of each column where the config orders them by activation; None where they are neighbours."""
    if x is None:
        return None
    found = stored(q.of_shape(stem + GROUPS, x, (k,), "I32"))[0].view("<i4").astype(np.int64)
    return None if (found == -1).all() else q.checked_groups(stem + GROUPS, found, groups)
