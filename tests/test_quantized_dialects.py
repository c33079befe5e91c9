"""Quantized folders that say the same in the words of another tool, and values that the golden files hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hf_folders import safetensors_bytes
from numpy.typing import NDArray
from test_quantized_folders import GOLDEN, metadata, settings, stored_tensors

from llmlocal.errors import BadFileError
from llmlocal.hf.config import Settings
from llmlocal.hf.folder import Folder
from llmlocal.hf.quantized import decoded
from llmlocal.hf.safetensors import Safetensors
from llmlocal.quant.formats import load_all

Tensors = dict[str, tuple[str, NDArray[Any]]]
Config = dict[str, Any]


def read(folder: Path, case: str, change: Callable[[Config, Tensors], None], file: str = "") -> NDArray[np.float32]:
    """The matrix of a golden file whose config and tensors are changed; the config is in `file`, if not config.json."""
    load_all()
    path = GOLDEN[0].parent / f"{case}.safetensors"
    config, tensors = json.loads(metadata(path)["quantization_config"]), stored_tensors(path)
    del tensors["expected"]
    change(config, tensors)
    (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    s = settings(folder, config)
    if file:
        (folder / "config.json").write_text("{}")
        (folder / file).write_text(json.dumps(config))
        s = Settings(Folder(folder), {})
    weights = Safetensors(folder / "model.safetensors")
    try:
        found = decoded(s, weights.tensors)
        assert list(found) == ["layer.weight"]
        values: NDArray[np.float32] = found["layer.weight"].read(0, found["layer.weight"].rows).astype(np.float32)
        return values
    finally:
        weights.close()


def expected(case: str) -> NDArray[Any]:
    return stored_tensors(GOLDEN[0].parent / f"{case}.safetensors")["expected"][1]


def instead(config: Config, **said: Any) -> None:
    config.clear()
    config.update(said)


def as_modelopt(config: Config, tensors: Tensors) -> None:
    """NVFP4 as NVIDIA's tool writes it: the factor multiplies."""
    instead(config, quant_method="modelopt", quant_algo="NVFP4", group_size=16, ignore=["lm_head"])
    tensors["layer.weight"] = tensors.pop("layer.weight_packed")
    factor = tensors.pop("layer.weight_global_scale")[1]
    tensors["layer.weight_scale_2"] = "F32", (1 / factor).reshape(())
    tensors["layer.input_scale"] = "F32", np.float32(0.5)


def as_modelopt_fp8(config: Config, tensors: Tensors) -> None:
    instead(config, quant_method="modelopt", quant_algo="FP8")
    tensors["layer.input_scale"] = "F32", np.float32(0.5)


def as_deepseek(config: Config, tensors: Tensors) -> None:
    tensors["layer.scale"] = tensors.pop("layer.weight_scale_inv")


def as_auto_round(packing: str) -> Callable[[Config, Tensors], None]:
    def change(config: Config, tensors: Tensors) -> None:
        kept = {name: config[name] for name in ("bits", "group_size", "sym") if name in config}
        instead(config, quant_method="auto-round", packing_format=packing, data_type="int", **kept)
        tensors.pop("layer.g_idx", None)

    return change


def with_override(config: Config, tensors: Tensors) -> None:
    """A module of 8 bits in a folder of 4."""
    config |= {"bits": 4, "group_size": 128, "dynamic": {"+:layer.*": {"bits": 8, "group_size": 32}}}


def plain(config: Config, tensors: Tensors) -> None:
    config.pop("quant_method")


def by_old_modelopt(config: Config, tensors: Tensors) -> None:
    instead(config, producer={"name": "modelopt"}, quantization={"quant_algo": "FP8"})


@pytest.mark.parametrize(
    ("case", "change", "file"),
    [
        ("ct-nvfp4", as_modelopt, ""),
        ("fp8-tensor", as_modelopt_fp8, ""),
        ("fp8-tensor", by_old_modelopt, "hf_quant_config.json"),
        ("fp8-block", as_deepseek, ""),
        ("fp8-block-e8m0", as_deepseek, ""),
        ("gptq-4-asymmetric", as_auto_round("auto_round:auto_gptq"), ""),
        ("awq", as_auto_round("auto_round:auto_awq"), ""),
        ("gptq-8-asymmetric", with_override, ""),
        ("gptq-4", plain, "quantize_config.json"),
        ("awq", plain, "quant_config.json"),
    ],
)
def test_values_are_the_same(case: str, change: Callable[[Config, Tensors], None], file: str, tmp_path: Path) -> None:
    np.testing.assert_allclose(read(tmp_path, case, change, file), expected(case), rtol=3e-7, atol=0)


def both_scales(config: Config, tensors: Tensors) -> None:
    tensors["layer.weight_scale"] = tensors["layer.weight_scale_inv"]


def of(**said: Any) -> Callable[[Config, Tensors], None]:
    return lambda config, tensors: config.update(said)


def modelopt_without(name: str) -> Callable[[Config, Tensors], None]:
    def change(config: Config, tensors: Tensors) -> None:
        as_modelopt(config, tensors)
        del tensors[name]

    return change


@pytest.mark.parametrize(
    ("case", "change", "words"),
    [
        ("fp8-block", both_scales, "has more than one kind of scales"),
        ("fp8-tensor", of(quant_method="modelopt", quant_algo="W4A8_AWQ"), "quant_algo 'W4A8_AWQ' of modelopt"),
        ("ct-nvfp4", modelopt_without("layer.weight_scale"), "layer.weight_scale' is missing"),
        ("ct-nvfp4", modelopt_without("layer.weight"), "layer.weight' is missing"),
        ("ct-nvfp4", lambda _, t: t.pop("layer.weight_global_scale") and None, "weight_global_scale' is missing"),
        ("ct-mxfp4", lambda _, t: t.update({"layer.weight_scale": ("U8", np.zeros((32, 2), "u1"))}), "of the shape"),
        ("gptq-4", of(quant_method="auto-round", packing_format="auto_round"), "packing_format 'auto_round'"),
        ("gptq-4", of(quant_method="auto-round", data_type="mx_fp"), "data_type 'mx_fp' is not supported"),
    ],
)
def test_what_is_wrong_is_refused(
    case: str, change: Callable[[Config, Tensors], None], words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadFileError) as caught:
        read(tmp_path, case, change)
    assert words in str(caught.value) and caught.value.hint
