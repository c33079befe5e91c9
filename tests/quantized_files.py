"""Files of small models with random weights to quantize, and the formats of a file's tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from recipe_models import Small

from llmlocal.gguf import open_gguf, write_gguf
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.tensor import QTensor

load_all()


def write_small(path: Path, model: Small, *, format: str = "F16", bad: dict[str, float] | None = None) -> None:
    """A file of random weights; `bad` puts a number into a tensor."""
    rng, tensors = np.random.default_rng(0), []
    for name, shape in model.tensors().items():
        values = rng.normal(0, 0.02, shape).astype(np.float32)
        if name in (bad or {}):
            values.flat[-1] = (bad or {})[name]
        fmt = BY_NAME[format if len(shape) > 1 else "F32"]
        with np.errstate(all="ignore"):
            data = values.astype(np.float16).view(np.uint8) if fmt.name == "F16" else fmt.quantize(values)
        tensors.append(QTensor(name, fmt, shape, memoryview(data.tobytes())))
    write_gguf(path, model.metadata | {"general.name": "small", "general.file_type": 1}, tensors)


def formats(path: Path) -> dict[str, str]:
    with open_gguf(path) as file:
        return {t.name: t.format.name for t in file.tensors.values()}
