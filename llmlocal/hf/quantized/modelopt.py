"""TensorRT Model Optimizer (NVIDIA): FP8 with one scale for a matrix, and NVFP4, also both in one folder.

A matrix of NVFP4 has `weight_scale` for each 16 values of a row and `weight_scale_2` for all; one of FP8 has the first
alone. Old folders say the method in hf_quant_config.json, not in config.json.
"""

from __future__ import annotations

from dataclasses import replace

from ..streams import Stream
from . import fp8, nvfp4
from .weights import QuantizedWeights

METHODS = ("modelopt",)
PARTS = (".weight_scale_2", ".weight_scale", ".weight")
FACTOR, SCALE, WEIGHT = PARTS
ALGORITHMS = ("FP8", "NVFP4", "MIXED_PRECISION")


def decoded(q: QuantizedWeights) -> dict[str, Stream]:
    """The tensors with FP8 and NVFP4 decoded. Raises BadFileError for other algorithms."""
    algorithm = q.config.get("quant_algo")
    if algorithm not in ALGORITHMS:
        raise q.refuse(f"quant_algo {algorithm!r:.40} of modelopt is not supported, {', '.join(ALGORITHMS)} are")
    found, others = q.grouped(*PARTS)
    matrices = {stem: parts for stem, parts in found.items() if FACTOR in parts}
    for stem, parts in matrices.items():
        names = (stem + WEIGHT, stem + SCALE, stem + FACTOR)
        others[stem + WEIGHT] = nvfp4.matrix(q, names, *(parts.get(part) for part in (WEIGHT, SCALE, FACTOR)))
    if matrices:
        q.s.note(f"{len(matrices)} matrices of NVFP4 are stored as floats, multiplied by their scales")
    rest = {stem + part: x for stem, parts in found.items() if stem not in matrices for part, x in parts.items()}
    return fp8.decoded(replace(q, tensors=rest)) | others
