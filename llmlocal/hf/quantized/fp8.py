"""FP8 weights with scales: of blocks (DeepSeek-V3, Qwen3-FP8), of a tensor (Mistral, vLLM), or of rows (FBGEMM).

    x = weight * scale, with the scale in `weight_scale_inv`, `weight_scale` or, under DeepSeek's own names, `scale`

The names are misleading: all are factors of the stored numbers (DeepSeek-V3, arXiv 2412.19437, section 3.3).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from ..streams import Stream
from .scaled import times_grid
from .weights import QuantizedWeights

METHODS = ("fp8", "fbgemm_fp8")
SCALES = ("_scale_inv", "_scale")


def decoded(q: QuantizedWeights) -> dict[str, Stream]:
    """The tensors with FP8 weights multiplied by their scales. Raises BadFileError where these do not fit."""
    q = replace(q, tensors={_usual_name(name, q.tensors): x for name, x in q.tensors.items()})
    scales, out = q.grouped(*(f"{name}{ending}" for name in ("weight", "_proj") for ending in SCALES))
    size = q.config.get("weight_block_size")
    block = None
    if size is not None:
        if not isinstance(size, list) or len(size) != 2 or any(type(n) is not int or n < 1 for n in size):
            raise q.s.fail(f"weight_block_size is {size!r:.40}, must be two numbers")
        block = (size[0], size[1])
    for stem, found in scales.items():
        ((ending, scale),) = list(found.items())[:1]
        name = stem + ending.removesuffix("_inv").removesuffix("_scale")
        if len(found) > 1 or name not in out:
            what = "has more than one kind of scales" if len(found) > 1 else "has scales, but is missing"
            raise q.fail(name, what, "download the missing files")
        out[name] = times_grid(q, stem + ending, out[name], scale, block)
    if scales:
        q.s.note(f"{len(scales)} matrices of FP8 are stored as floats, multiplied by their scales")
    return out


def _usual_name(name: str, names: Container[str]) -> str:
    """A scale's name in transformers, of one that stands beside its weight as DeepSeek has it."""
    weight = f"{name.removesuffix('.scale')}.weight"
    alone = name.endswith(".scale") and weight in names and not any(weight + ending in names for ending in SCALES)
    return f"{weight}_scale" if alone else name
