"""Quantize small matrices by the libraries whose folders `convert` reads: tests/golden/quantized/*.safetensors.

    python tools/make_quantized_goldens.py [case ...]

Needs torch (CPU), transformers, compressed-tensors, and for their cases gptqmodel, bitsandbytes and hqq. A file holds
the tensors of one layer `layer` as a folder does, what the library makes of them in float32 (`expected`), and the
quantization_config in its metadata.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from safetensors.torch import save_file
from transformers.integrations.bitnet import pack_weights, unpack_weights
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

GOLDEN = Path(__file__).parents[1] / "tests/golden/quantized"
ROWS, K = 32, 96
FOUR_BITS = {"num_bits": 4, "type": "float"}
Tensors = dict[str, torch.Tensor]
Case = tuple[dict[str, Any], Tensors, torch.Tensor]


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fp8(scale: torch.Tensor, name: str = "weight_scale_inv", method: str = "fp8", **config: Any) -> Case:
    """Scales divide the matrix evenly: transformers' own reader takes no others."""
    codes = (drawn(1, ROWS, K) * 100).to(torch.float8_e4m3fn)
    grid = scale if scale.ndim == 2 else scale.reshape(-1, 1)
    expected = Fp8Dequantize(None)._dequantize_one(codes, grid, torch.float32)
    return {"quant_method": method, **config}, {"layer.weight": codes, f"layer.{name}": scale}, expected


def compressed(format: str, dtype: torch.dtype = torch.bfloat16, **settings: Any) -> Case:
    """A matrix quantized and packed by compressed-tensors."""
    arguments = QuantizationArgs(**settings)
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
    x = drawn(2, ROWS, K).to(dtype)
    match arguments.strategy:
        case "tensor":
            groups = x.reshape(1, 1, -1)
        case "channel":
            groups = x.reshape(ROWS, 1, K)
        case "block":
            down, across = arguments.block_structure
            cut = x.reshape(ROWS // down, down, K // across, across).transpose(1, 2)
            groups = cut.reshape(ROWS // down, K // across, -1)
        case _:
            groups = x.reshape(ROWS, -1, arguments.group_size)
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), arguments)
    state = {"weight": x, "weight_scale": scale.to(dtype).reshape(-1) if arguments.strategy == "tensor" else scale}
    if not arguments.symmetric:
        state["weight_zero_point"] = zero
    if arguments.strategy == "tensor_group":
        state["weight_global_scale"] = factor = generate_gparam(x.min(), x.max())
        state["weight_scale"] = calculate_qparams(groups.amin(-1), groups.amax(-1), arguments, factor)[0].float()
    compressor = BaseCompressor.get_value_from_registry(format)
    packed = compressor.compress(state, scheme)
    scales = packed["weight_scale"]
    exact = packed | {"weight_scale": scales if scales.dtype == torch.uint8 else scales.float()}
    if arguments.strategy == "tensor_group":  # its own decompress computes in bfloat16
        codes = unpack_fp4_from_uint8(packed["weight_packed"], ROWS, K, torch.float32)
        expected = dequantize(codes, scales.float(), args=arguments, global_scale=factor, dtype=torch.float32)
    else:
        expected = compressor.decompress(exact, scheme)["weight"].float()
    config = {
        "quant_method": "compressed-tensors",
        "format": format,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": json.loads(arguments.model_dump_json())}},
    }
    return config, {f"layer.{name}": x for name, x in packed.items()}, expected


def gptq(bits: int, group: int = 32, *, sym: bool = True, ordered: bool = False, second: bool = False) -> Case:
    """A matrix rounded to a grid, packed and unpacked by GPTQModel."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    count, top = K // group if group > 0 else 1, (1 << bits) - 1
    scales = (drawn(4, ROWS, count).abs() * 0.01 + 0.01).half().float()
    zeros = torch.full((ROWS, count), (top + 1) // 2)
    if not sym:  # a stored 0 minus one would borrow from its neighbour in the first version
        zeros = torch.randint(1, top + 1, (ROWS, count), generator=torch.Generator().manual_seed(5))
    group_of = torch.arange(K) // (group if group > 0 else K)
    if ordered:
        group_of = group_of[torch.randperm(K, generator=torch.Generator().manual_seed(6))]
    codes = torch.randint(0, top + 1, (ROWS, K), generator=torch.Generator().manual_seed(7))
    linear = torch.nn.Linear(K, ROWS, bias=False)
    linear.weight.data = scales[:, group_of] * (codes - zeros[:, group_of])
    layer = TorchLinear(
        bits=bits, group_size=group, sym=sym, desc_act=ordered, in_features=K, out_features=ROWS, bias=False
    )
    layer.pack_original(linear, scales, zeros, group_of.int())
    layer.qzero_format(format=2)
    layer.post_init()
    layer.scales, half = layer.scales.float(), layer.scales
    layer.dequant_dtype = torch.int32
    expected = layer.dequantize_weight().T.contiguous().float()
    if not second:
        convert_gptq_v2_to_v1_format_module(layer, layer)
    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": sym, "desc_act": ordered}
    config |= {"checkpoint_format": "gptq_v2" if second else "gptq"}
    stored = {"qweight": layer.qweight, "qzeros": layer.qzeros, "scales": half, "g_idx": group_of.int()}
    return config, {f"layer.{name}": x for name, x in stored.items()}, expected


def awq(*, zero: int | None = None) -> Case:
    """Codes packed and multiplied out by GPTQModel's AWQ; `zero` for all zero points, None for drawn ones."""
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm, pack_awq

    generator = torch.Generator().manual_seed(8)
    codes = torch.randint(0, 16, (K, ROWS), generator=generator, dtype=torch.int32)
    zeros = torch.randint(0, 16, (K // 32, ROWS), generator=generator, dtype=torch.int32)
    zeros = zeros if zero is None else torch.full_like(zeros, zero)
    scales = (drawn(9, K // 32, ROWS).abs() * 0.01 + 0.01).half()
    qweight, qzeros = pack_awq(codes, zeros, 4)
    expected = dequantize_gemm(qweight, qzeros, scales.float(), 4, 32).T.contiguous()
    config = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
    return config, {"layer.qweight": qweight, "layer.qzeros": qzeros, "layer.scales": scales}, expected


def bitnet(linear_class: str) -> Case:
    values = torch.randint(-1, 2, (ROWS, K), generator=torch.Generator().manual_seed(10)).float()
    packed, scale = pack_weights(values.clone()), torch.tensor([1.21875], dtype=torch.bfloat16)
    unpacked = unpack_weights(packed, torch.float32)
    expected = unpacked * scale.float() if linear_class == "autobitlinear" else unpacked / scale.float()
    config = {"quant_method": "bitnet", "linear_class": linear_class, "quantization_mode": "offline"}
    return config, {"layer.weight": packed, "layer.weight_scale": scale}, expected


def mxfp4() -> Case:
    """Three experts; the expected matrices lie as transformers has them, (experts, k, rows)."""
    generator = torch.Generator().manual_seed(11)
    blocks = torch.randint(0, 256, (3, ROWS, K // 32, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(110, 130, (3, ROWS, K // 32), generator=generator, dtype=torch.uint8)
    expected = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).contiguous()
    return {"quant_method": "mxfp4"}, {"layer.weight_blocks": blocks, "layer.weight_scales": scales}, expected


def four_bits(kind: str, *, nested: bool = False) -> Case:
    """A matrix quantized by bitsandbytes in blocks of 64, and as it saves it."""
    from bitsandbytes import functional

    codes, state = functional.quantize_4bit(
        drawn(15, ROWS, K), quant_type=kind, compress_statistics=nested, blocksize=64
    )
    expected = functional.dequantize_4bit(codes, state).float()
    stored = {f"layer.weight.{name}": x for name, x in state.as_dict(packed=True).items()}
    return {"quant_method": "bitsandbytes", "load_in_4bit": True}, {"layer.weight": codes, **stored}, expected


def eight_bits() -> Case:
    """A matrix quantized by bitsandbytes in rows."""
    from bitsandbytes import functional

    codes, scales, _ = functional.int8_vectorwise_quant(drawn(16, ROWS, K).half())
    expected = functional.int8_vectorwise_dequant(codes, scales).float()
    tensors = {"layer.weight": codes, "layer.SCB": scales, "layer.weight_format": torch.tensor(0, dtype=torch.uint8)}
    return {"quant_method": "bitsandbytes", "load_in_8bit": True}, tensors, expected


def hqq(bits: int, axis: int) -> Case:
    """A matrix quantized by HQQ in groups of 48, and as it saves it."""
    from hqq.core.quantize import Quantizer
    from hqq.core.utils import encode_safetensor_type

    settings = {"nbits": bits, "group_size": 48, "axis": axis, "optimize": False, "device": "cpu"}
    codes, meta = Quantizer.quantize(drawn(17, ROWS, K), compute_dtype=torch.float32, **settings)
    expected = Quantizer.dequantize(codes, meta | {"compute_dtype": torch.float32})
    state = {"W_q": codes} | {name: encode_safetensor_type(value) for name, value in meta.items()}
    config = {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": bits, "axis": axis}}}
    return config, {f"layer.{name}": x for name, x in state.items()}, expected


def versions() -> dict[str, str]:
    """Those of the packages that are installed."""
    found = {}
    for name in ("transformers", "compressed-tensors", "gptqmodel", "bitsandbytes", "hqq"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


CASES: dict[str, Callable[[], Case]] = {
    "fp8-block": lambda: fp8(drawn(12, 2, 3).abs() + 0.1, weight_block_size=[16, 32]),
    "fp8-block-e8m0": lambda: fp8((drawn(13, 2, 3).abs() + 0.1).to(torch.float8_e8m0fnu), weight_block_size=[16, 32]),
    "fp8-tensor": lambda: fp8(torch.tensor(0.0625), "weight_scale", activation_scheme="static"),
    "fp8-rows": lambda: fp8(drawn(14, ROWS, 1).abs() + 0.1, "weight_scale", "fbgemm_fp8"),
    "ct-float-channel": lambda: compressed("float-quantized", num_bits=8, type="float", strategy="channel"),
    "ct-float-tensor": lambda: compressed("float-quantized", num_bits=8, type="float", strategy="tensor"),
    "ct-float-block": lambda: compressed(
        "float-quantized", num_bits=8, type="float", strategy="block", block_structure=[16, 32]
    ),
    "ct-int8-channel": lambda: compressed("int-quantized", num_bits=8, type="int", strategy="channel"),
    "ct-int8-tensor": lambda: compressed("int-quantized", torch.float32, num_bits=8, type="int", strategy="tensor"),
    "ct-int8-asymmetric": lambda: compressed(
        "int-quantized", num_bits=8, type="int", strategy="channel", symmetric=False
    ),
    "ct-packed-4": lambda: compressed("pack-quantized", num_bits=4, type="int", strategy="group", group_size=32),
    "ct-packed-4-asymmetric": lambda: compressed(
        "pack-quantized", torch.float16, num_bits=4, type="int", strategy="group", group_size=48, symmetric=False
    ),
    "ct-packed-8": lambda: compressed("pack-quantized", num_bits=8, type="int", strategy="channel"),
    "ct-packed-3": lambda: compressed("pack-quantized", num_bits=3, type="int", strategy="group", group_size=32),
    "ct-mxfp4": lambda: compressed("mxfp4-pack-quantized", **FOUR_BITS, strategy="group", group_size=32),
    "ct-nvfp4": lambda: compressed("nvfp4-pack-quantized", **FOUR_BITS, strategy="tensor_group", group_size=16),
    "gptq-4": lambda: gptq(4),
    "gptq-4-asymmetric": lambda: gptq(4, sym=False),
    "gptq-4-ordered": lambda: gptq(4, ordered=True),
    "gptq-4-whole-rows": lambda: gptq(4, -1),
    "gptq-v2-asymmetric": lambda: gptq(4, sym=False, second=True),
    "gptq-2": lambda: gptq(2),
    "gptq-3": lambda: gptq(3, sym=False),
    "gptq-8": lambda: gptq(8),
    "gptq-8-asymmetric": lambda: gptq(8, sym=False),
    "awq": awq,
    "awq-zero-8": lambda: awq(zero=8),
    "awq-zero-4": lambda: awq(zero=4),
    "bitnet": lambda: bitnet("autobitlinear"),
    "bitnet-divided": lambda: bitnet("bitlinear"),
    "mxfp4": mxfp4,
    "bnb-nf4": lambda: four_bits("nf4"),
    "bnb-nf4-nested": lambda: four_bits("nf4", nested=True),
    "bnb-fp4": lambda: four_bits("fp4"),
    "bnb-int8": eight_bits,
    "hqq-8": lambda: hqq(8, 1),
    "hqq-4": lambda: hqq(4, 1),
    "hqq-4-columns": lambda: hqq(4, 0),
    "hqq-3": lambda: hqq(3, 1),
    "hqq-2": lambda: hqq(2, 0),
    "hqq-1": lambda: hqq(1, 1),
}


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    made_by = versions()
    for name in sys.argv[1:] or CASES:
        config, tensors, expected = CASES[name]()
        held = {name: x.contiguous() for name, x in (tensors | {"expected": expected.float()}).items()}
        metadata = {"quantization_config": json.dumps(config), "made_by": json.dumps(made_by)}
        save_file(held, GOLDEN / f"{name}.safetensors", metadata)
        print(name, {key: (str(x.dtype), tuple(x.shape)) for key, x in held.items()})


if __name__ == "__main__":
    main()
