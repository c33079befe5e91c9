"""Writes tests/golden/recipes.json.xz: the type that llama.cpp gives every tensor of the models in
tests/recipe_models.py, for each mix, without and with an importance matrix. Needs llama-cpp-python and gguf.
"""

from __future__ import annotations

import ctypes
import json
import lzma
import sys
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from recipe_models import MODELS, Small  # noqa: E402

FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
    "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ2_XXS": 19, "IQ2_XS": 20,
    "Q2_K_S": 21, "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ3_M": 27, "IQ2_S": 28,
    "IQ2_M": 29, "IQ4_XS": 30, "IQ1_M": 31, "BF16": 32, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38,
}  # fmt: skip
QUIET = llama_cpp.llama_log_callback(lambda *_: None)


def write(model: Small, path: Path) -> None:
    writer = gguf.GGUFWriter(path, model.architecture)
    for key, value in model.metadata.items():
        if key == "general.architecture":
            continue
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    for name, shape in model.tensors().items():
        writer.add_tensor(name, np.zeros(shape, np.float16 if len(shape) > 1 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def importance(model: Small) -> tuple[object, object]:
    """An importance matrix of ones for every matrix, and what must live as long."""
    shapes = {name: shape for name, shape in model.tensors().items() if len(shape) > 1}
    rows = (llama_cpp.llama_model_imatrix_data * (len(shapes) + 1))()
    held = []
    for row, (name, shape) in zip(rows, shapes.items(), strict=False):
        size = shape[-1] * (shape[0] if len(shape) > 2 else 1)
        held.append((ctypes.c_float * size)(*[1.0] * size))
        row.name, row.data, row.size = name.encode(), held[-1], size
    return rows, held


def types(model: Small, source: Path, out: Path, file_type: int, important: bool) -> dict[str, str] | None:
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = file_type, 2
    rows, _held = importance(model)
    if important:
        params.imatrix = ctypes.cast(rows, type(params.imatrix))
    if llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), params):
        return None
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(out).tensors}


def main() -> None:
    llama_cpp.llama_log_set(QUIET, None)
    goldens: dict[str, dict[str, dict[str, str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "source.gguf"), Path(folder, "out.gguf")
        for name, model in MODELS.items():
            write(model, source)
            found = goldens[name] = {}
            for mix, file_type in FILE_TYPES.items():
                for important in (False, True):
                    got = types(model, source, out, file_type, important)
                    if got is not None:
                        found[mix + "+imatrix" * important] = {k: v for k, v in got.items() if k.endswith("weight")}
            print(name, len(found), file=sys.stderr)
    path = ROOT / "tests/golden/recipes.json.xz"
    path.write_bytes(lzma.compress(json.dumps(goldens, sort_keys=True).encode(), preset=9))


if __name__ == "__main__":
    main()
