"""Folders of quantized weights: values as the libraries that made them give them, and blocks that say the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hf_folders import BASE, CASES, Case, drawn, safetensors_bytes, weights, write_folder, write_json
from numpy.typing import NDArray

from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf
from llmlocal.hf import streams
from llmlocal.hf.config import Settings
from llmlocal.hf.folder import Folder
from llmlocal.hf.quantized import decoded
from llmlocal.hf.safetensors import Safetensors
from llmlocal.hf.streams import Stream
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all

Said = Callable[..., tuple[int, str, str]]
Floats = NDArray[np.float32]
GOLDEN = sorted((Path(__file__).parent / "golden/quantized").glob("*.safetensors"))
# What is kept bit by bit; all others become floats. Zero points times scales are no halves where they are drawn.
BLOCKS = {
    "ct-int8-channel": "Q8_0",
    "ct-packed-4": "Q4_0",
    "ct-packed-8": "Q8_0",
    "ct-packed-3": "Q4_0",
    "gptq-4": "Q4_0",
    "gptq-4-whole-rows": "Q4_0",
    "gptq-2": "Q4_0",
    "gptq-3": "Q4_0",
    "gptq-8": "Q8_0",
    "awq-zero-8": "Q4_0",
    "awq-zero-4": "Q4_1",
    "mxfp4": "MXFP4",
    "ct-mxfp4": "MXFP4",
}
DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I32": "<i4", "I64": "<i8"}
Change = Callable[[dict[str, Any], dict[str, Any]], object]
TRANSPOSED = "mxfp4"  # its matrices are given as transformers has them


def settings(folder: Path, quantization: Any) -> Settings:
    (folder / "config.json").write_text(json.dumps({"quantization_config": quantization}))
    return Settings(Folder(folder), {})


def metadata(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    found: dict[str, str] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return found


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_values_are_those_of_the_library(path: Path, tmp_path: Path) -> None:
    """All rows, and some rows. A product is rounded once, so that equal means equal up to that."""
    load_all()
    s = settings(tmp_path, json.loads(metadata(path)["quantization_config"]))
    file = Safetensors(path)
    try:
        tensors = dict(file.tensors)
        expected = tensors.pop("expected")
        found = decoded(s, tensors)
        assert list(found) == ["layer.weight"]
        layer = found["layer.weight"]
        assert layer.shape == expected.shape
        whole = expected.read(0, expected.rows).astype(np.float32)
        values = layer.read(0, layer.rows)
        np.testing.assert_allclose(values, whole, rtol=2e-7, atol=0)
        np.testing.assert_array_equal(layer.read(5, 21), values[5:21])
        if path.stem == TRANSPOSED:
            layer = streams.transposed(layer)
        if path.stem in BLOCKS:
            assert layer.format == BLOCKS[path.stem]
            check_blocks(layer)
        else:
            assert layer.blocks is None
            assert layer.format == ("BF16" if path.stem == "bitnet" else "F32")
        assert len(s.notes) == 1
    finally:
        file.close()


def check_blocks(layer: Stream) -> None:
    """Blocks are the values in their format, bit by bit."""
    assert layer.blocks is not None
    data = layer.blocks.read(0, layer.rows)
    assert data.shape == (layer.rows, BY_NAME[layer.format].row_bytes(layer.k))
    np.testing.assert_array_equal(BY_NAME[layer.format].dequantize(data), layer.read(0, layer.rows))
    np.testing.assert_array_equal(layer.blocks.read(3, 8), data[3:8])


# ---- whole folders --------------------------------------------------------------------------------------------------


def as_gptq(name: str, x: Floats) -> tuple[dict[str, Any], Floats]:
    """A matrix of 4 bits in groups of 32, zero point 8, as GPTQ stores it; and its values."""
    rows, k = x.shape
    scales = (np.abs(x).reshape(rows, -1, 32).max(axis=2) / 7).astype(np.float16)
    wide = np.repeat(scales.astype(np.float32), 32, axis=1)
    codes = np.clip(np.rint(x / wide) + 8, 0, 15).astype(np.uint32)
    words = sum(codes.T[j::8] << np.uint32(4 * j) for j in range(8))
    stem = name.removesuffix(".weight")
    return {
        f"{stem}.qweight": ("I32", words.astype(np.uint32)),
        f"{stem}.qzeros": ("I32", np.full((k // 32, rows // 8), 0x77777777, np.uint32)),
        f"{stem}.scales": ("F16", np.ascontiguousarray(scales.T)),
        f"{stem}.g_idx": ("I32", (np.arange(k) // 32).astype(np.int32)),
    }, (codes.astype(np.float32) - 8) * wide


def as_fp8(name: str, x: Floats) -> tuple[dict[str, Any], Floats]:
    """A matrix of FP8 codes with a scale for blocks of 48 x 48, the last of which are cut; and its values."""
    codes = (x * 40).astype(np.int8).view(np.uint8) & 0x7B  # no NaN
    rows, k = x.shape
    scale = np.linspace(0.01, 0.02, -(-rows // 48) * -(-k // 48), dtype=np.float32).reshape(-(-rows // 48), -1)
    wide = scale.repeat(48, axis=0)[:rows].repeat(48, axis=1)[:, :k]
    numbers = np.array([fp8_value(int(code)) for code in range(256)], np.float32)
    return {name: ("F8_E4M3", codes), f"{name}_scale_inv": ("F32", scale)}, numbers[codes] * wide


def fp8_value(code: int) -> float:
    """A byte of E4M3 that is neither negative nor NaN."""
    exponent, mantissa = code >> 3 & 15, code & 7
    return (1 + mantissa / 8) * 2.0 ** (exponent - 7) if exponent else mantissa / 8 * 2.0**-6


FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
FP8 = {"quant_method": "fp8", "weight_block_size": [48, 48]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True}
STORED = {"gptq": (as_gptq, GPTQ), "fp8": (as_fp8, FP8)}


def both_folders(path: Path, case: str, method: str) -> tuple[Path, Path]:
    """A folder whose matrices of blocks are quantized, and one of the same values in F32."""
    quantized, plain = (write_folder(path / name, CASES[case]) for name in ("quantized", "plain"))
    settings = json.loads((plain / "config.json").read_text())
    quantize, config = STORED[method]
    stored: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, x in weights(settings).items():
        if name.endswith(("_proj.weight", "w1.weight", "w2.weight", "w3.weight")):
            more, x = quantize(name, x)
            stored |= more
        else:
            stored[name] = ("F32", x)
        values[name] = ("F32", x)
    write_json(quantized / "config.json", settings | {"quantization_config": config})
    for folder, tensors in ((quantized, stored), (plain, values)):
        (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return quantized, plain


@pytest.mark.parametrize(
    ("case", "method", "kept"),
    [("llama-linear", "gptq", "Q4_0"), ("mixtral", "gptq", "Q4_0"), ("llama-linear", "fp8", "F16")],
)
def test_a_folder_has_the_values_of_its_codes(case: str, method: str, kept: str, tmp_path: Path, said: Said) -> None:
    """Reordered rows and stacked experts included; auto keeps blocks bit by bit, f32 has the same values."""
    quantized, plain = both_folders(tmp_path, case, method)
    for folder, out, type_name in (
        (quantized, "kept.gguf", "auto"),
        (quantized, "float.gguf", "f32"),
        (plain, "plain.gguf", "f32"),
    ):
        code, _, err = said("convert", folder, tmp_path / out, "--type", type_name)
        assert code == 0, err
        assert (f"matrices of {method}" in err.lower().replace("'", "")) is (folder is quantized)
    with (
        open_gguf(tmp_path / "kept.gguf") as bits,
        open_gguf(tmp_path / "float.gguf") as floats,
        open_gguf(tmp_path / "plain.gguf") as wanted,
    ):
        for name, tensor in wanted.tensors.items():
            np.testing.assert_array_equal(floats.tensors[name].dequantize(), tensor.dequantize())
            is_small = len(tensor.shape) < 2 or "gate_inp" in name
            is_kept = name.startswith("blk.") and not is_small
            assert bits.tensors[name].format.name == ("F32" if is_small else kept if is_kept else "F16")
            if is_kept and kept == "Q4_0":
                np.testing.assert_array_equal(bits.tensors[name].dequantize(), tensor.dequantize())
        assert bits.metadata["general.file_type"] == {"Q4_0": 2, "F16": 1}[kept]


def test_mxfp4_of_gpt_oss_keeps_its_bits(tmp_path: Path, said: Said) -> None:
    """Interleaved rows of gate and up are taken apart without decoding them; --type f32 has the same values."""
    settings = BASE | {"num_hidden_layers": 1, "intermediate_size": 32, "num_local_experts": 2, "head_dim": 16}
    settings |= {"quantization_config": {"quant_method": "mxfp4"}, "layer_types": ["sliding_attention"]}
    folder = write_folder(tmp_path / "folder", Case("GptOssForCausalLM", settings))
    settings = json.loads((folder / "config.json").read_text()) | {"num_experts_per_tok": 1}
    write_json(folder / "config.json", settings)
    dense = weights({key: value for key, value in settings.items() if key != "num_local_experts"})
    tensors: dict[str, Any] = {name: ("F32", x) for name, x in dense.items() if ".mlp." not in name}
    block, rng = "model.layers.0.", np.random.default_rng(0)
    for name, rows in (("q", 64), ("k", 32), ("v", 32), ("o", 64)):
        tensors[f"{block}self_attn.{name}_proj.bias"] = ("F32", drawn(name, (rows,)))
    tensors[f"{block}self_attn.sinks"] = ("F32", drawn("sinks", (4,)))
    for name, shape in (("weight", (2, 64)), ("bias", (2,))):
        tensors[f"{block}mlp.router.{name}"] = ("F32", drawn(name, shape))
    expected = {}
    for name, rows, k in (("gate_up", 64, 64), ("down", 64, 32)):
        codes, exponents = (
            rng.integers(0, 256, (2, rows, k // 32, 16), np.uint8),
            rng.integers(110, 130, (2, rows, k // 32)),
        )
        stem = f"{block}mlp.experts.{name}_proj"
        tensors[f"{stem}_blocks"], tensors[f"{stem}_scales"] = ("U8", codes), ("U8", exponents.astype(np.uint8))
        tensors[f"{stem}_bias"] = ("F32", drawn(name, (2, rows)))
        pairs = np.stack([FP4[codes & 15], FP4[codes >> 4]], axis=-1).reshape(2, rows, k // 32, 32)
        expected[name] = (pairs * 2.0 ** (exponents[..., None] - 127)).reshape(2, rows, k).astype(np.float32)
    (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    made = {}
    for type_name in ("auto", "f32"):
        code, _, err = said("convert", folder, tmp_path / f"{type_name}.gguf", "--type", type_name)
        assert code == 0, err
        with open_gguf(tmp_path / f"{type_name}.gguf") as gguf:
            made[type_name] = {name: t.dequantize() for name, t in gguf.tensors.items() if "exps.weight" in name}
            formats = {t.format.name for name, t in gguf.tensors.items() if "exps.weight" in name}
            assert formats == {"MXFP4" if type_name == "auto" else "F32"}
    gate_up = expected["gate_up"]
    for found in made.values():
        np.testing.assert_array_equal(found["blk.0.ffn_gate_exps.weight"], gate_up[:, ::2])
        np.testing.assert_array_equal(found["blk.0.ffn_up_exps.weight"], gate_up[:, 1::2])
        np.testing.assert_array_equal(found["blk.0.ffn_down_exps.weight"], expected["down"])


def test_ternary_blocks_hold_packed_bitnet_exactly(tmp_path: Path) -> None:
    """What `quantize FOLDER TQ2_0` and TQ1_0 store of such a folder are its three values."""
    load_all()
    values = np.random.default_rng(1).integers(-1, 2, (64, 256))
    packed = sum((values + 1).astype(np.uint8).reshape(4, 16, 256)[i] << np.uint8(2 * i) for i in range(4))
    scale = np.array([0x3F9C], np.uint16)  # 1.21875
    (tmp_path / "x.safetensors").write_bytes(
        safetensors_bytes({"x.weight": ("U8", packed.astype(np.uint8)), "x.weight_scale": ("BF16", scale)})
    )
    file = Safetensors(tmp_path / "x.safetensors")
    try:
        s = settings(tmp_path, {"quant_method": "bitnet", "linear_class": "autobitlinear"})
        x = decoded(s, file.tensors)["x.weight"]
        rows = x.read(0, 64)
        np.testing.assert_array_equal(rows, values.astype(np.float32) * np.float32(1.21875))
        for format in (BY_NAME["TQ1_0"], BY_NAME["TQ2_0"]):
            np.testing.assert_array_equal(format.dequantize(format.quantize(rows, None)), rows)
    finally:
        file.close()


# ---- folders that are damaged or mean harm ---------------------------------------------------------------------------


def stored_tensors(path: Path) -> dict[str, tuple[str, NDArray[Any]]]:
    """(type, values) of the tensors of a file, as bytes in the shape of the values where NumPy lacks the type."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found: dict[str, tuple[str, NDArray[Any]]] = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, end = entry["data_offsets"]
            kind = DTYPES.get(entry["dtype"], "u1")
            found[name] = entry["dtype"], np.frombuffer(data[start + first : start + end], kind).reshape(entry["shape"])
    return found


def without(*endings: str) -> Change:
    return lambda config, tensors: [tensors.pop(name) for name in list(tensors) if name.endswith(endings)]


def other(ending: str, dtype: str, x: Any) -> Change:
    return lambda config, tensors: tensors.update({f"layer{ending}": (dtype, np.asarray(x))})


def said_of(**changes: Any) -> Change:
    return lambda config, tensors: config.update(changes)


WRONG: dict[str, tuple[str, Change, str]] = {
    "no scales": ("gptq-4", without(".scales"), "layer.scales' is missing"),
    "no zero points": ("gptq-4", without(".qzeros"), "layer.qzeros' is missing"),
    "no codes": ("gptq-4", without(".qweight"), "layer.qweight' is missing"),
    "no order": ("gptq-4-ordered", without(".g_idx"), "layer.g_idx' is missing"),
    "group out of range": ("gptq-4", other(".g_idx", "I32", np.full(96, 3, np.int32)), "outside of its 3 groups"),
    "negative group": ("gptq-4", other(".g_idx", "I32", np.full(96, -1, np.int32)), "outside of its 3 groups"),
    "few columns in order": (
        "gptq-4",
        other(".g_idx", "I32", np.zeros(5, np.int32)),
        "has the shape (5,), must be (96,)",
    ),
    "huge groups": ("gptq-4", said_of(group_size=1 << 31), "has 3 groups of 2147483648 columns"),
    "groups of nothing": ("gptq-4", said_of(group_size=0), "has 3 groups of 0 columns"),
    "groups of text": ("gptq-4", said_of(group_size="x"), "group_size must be an integer"),
    "no bits": ("gptq-4", said_of(bits=None), "quantization_config has no bits"),
    "5 bits": ("gptq-4", said_of(bits=5), "5 bits are not supported"),
    "other version": ("gptq-4", said_of(checkpoint_format="marlin"), "checkpoint_format 'marlin' is not supported"),
    "vector of codes": ("gptq-4", other(".qweight", "I32", np.zeros(8, np.int32)), "which is not a matrix"),
    "codes of floats": ("gptq-4", other(".qweight", "F32", np.zeros((12, 32), np.float32)), "is F32, must be I32"),
    "scales of integers": ("gptq-4", other(".scales", "I32", np.zeros((3, 32), np.int32)), "is I32, must be a float"),
    "NaN scales": ("gptq-4", other(".scales", "F16", np.full((3, 32), np.nan, np.float16)), "contains NaN or infinity"),
    "gemv": ("awq", said_of(version="gemv"), "version 'gemv' is not supported"),
    "AWQ without zero points": ("awq", without(".qzeros"), "layer.qzeros' is missing"),
    "scales that do not fit": (
        "fp8-block",
        other(".weight_scale_inv", "F32", np.ones((5, 3), np.float32)),
        "does not fit a weight of (32, 96)",
    ),
    "scales alone": ("fp8-block", without(".weight"), "has scales, but is missing"),
    "blocks of nothing": ("fp8-block", said_of(weight_block_size=[0, 128]), "weight_block_size is [0, 128]"),
    "codes that are no numbers": (
        "fp8-block",
        other(".weight", "I32", np.zeros((32, 96), np.int32)),
        "is I32, must be a",
    ),
    "scales without a packed weight": ("ct-packed-4", without("_packed"), "is missing, or there twice"),
    "packed without scales": ("ct-packed-4", without("_scale"), "weight_scale' is missing"),
    "packed without a shape": ("ct-packed-4", without("_shape"), "weight_shape' is missing"),
    "other shape": ("ct-packed-4", other(".weight_shape", "I64", np.array([32, -1])), "for a weight of (32, -1)"),
    "asymmetric without zero points": (
        "ct-packed-4-asymmetric",
        without("_zero_point"),
        "weight_zero_point' is missing",
    ),
    "order out of range": (
        "ct-packed-4",
        other(".weight_g_idx", "I32", np.full(96, 7, np.int32)),
        "outside of its 3 groups",
    ),
    "unknown format": (
        "ct-packed-4",
        said_of(format="mxfp6-pack-quantized"),
        "'mxfp6-pack-quantized' is not supported",
    ),
    "transforms": (
        "ct-packed-4",
        said_of(transform_config={"config_groups": {"a": 1}}),
        "transforms and sparse weights",
    ),
    "no groups": ("ct-packed-4", said_of(config_groups=None), "which num_bits does not say"),
    "a fourth value": ("bitnet", other(".weight", "U8", np.full((8, 96), 255, np.uint8)), "none of the three values"),
    "scale zero": ("bitnet", other(".weight_scale", "F32", np.zeros(1, np.float32)), "is 0, must be positive"),
    "three values without a scale": ("bitnet", without("_scale"), "weight_scale' is missing"),
    "norms before": ("bitnet", said_of(use_rms_norm=True), "use_rms_norm"),
    "blocks without scales": ("mxfp4", without("_scales"), "weight_scales' is missing"),
    "scales without blocks": ("mxfp4", without("_blocks"), "weight_blocks' is missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_folders_are_refused(name: str, tmp_path: Path) -> None:
    """One line with what is wrong, when the folder is opened or at the latest when it is read, and what to do."""
    case, change, words = WRONG[name]
    path = GOLDEN[0].parent / f"{case}.safetensors"
    config = json.loads(metadata(path)["quantization_config"])
    tensors = stored_tensors(path)
    del tensors["expected"]
    change(config, tensors)
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    s = settings(tmp_path, config)
    file = Safetensors(tmp_path / "model.safetensors")
    try:
        with pytest.raises(BadFileError) as caught:
            for x in decoded(s, file.tensors).values():
                x.read(0, x.rows)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value) and caught.value.hint
    finally:
        file.close()
