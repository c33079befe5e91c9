"""The first folders of OLMo, with names of their own, become the file that transformers' folders become."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from families import draw, settings
from families.converted import write_tokenizer
from numpy.typing import NDArray
from safetensors.numpy import save_file

from llmlocal.convert.hf_source import open_hf
from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf
from llmlocal.quantize.convert import convert_model

NAMES = {"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
NAMES |= {"max_position_embeddings": "max_sequence_length", "vocab_size": "vocab_size", "clip_qkv": "clip_qkv"}
NAMES |= {name: name for name in ("rope_theta", "bos_token_id", "eos_token_id", "pad_token_id")}
SHAPES = {f"self_attn.{name}_proj": (32, 32) for name in "qkvo"} | {"mlp.down_proj": (32, 56)}
SHAPES |= {f"mlp.{name}_proj": (56, 32) for name in ("gate", "up")}
FUSED = {"att_proj": [f"self_attn.{name}_proj" for name in "qkv"], "attn_out": ["self_attn.o_proj"]}
FUSED |= {"ff_proj": ["mlp.up_proj", "mlp.gate_proj"], "ff_out": ["mlp.down_proj"]}
OUTSIDE = {
    "model.embed_tokens.weight": "model.transformer.wte.weight",
    "lm_head.weight": "model.transformer.ff_out.weight",
}


def drawn(name: str) -> NDArray[np.float32]:
    return draw("olmo", name, SHAPES.get(name.split(".", 3)[-1].removesuffix(".weight"), (40, 32)))


def write(folder: Path, config: dict[str, object], tensors: dict[str, NDArray[np.float32]]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    return folder


def first_config(**more: object) -> dict[str, object]:
    config = settings("olmo")
    own = {new: config[name] for name, new in NAMES.items()}
    own |= {"mlp_hidden_size": 2 * config["intermediate_size"], "weight_tying": False, "rope": True}
    return {"architectures": ["OLMoForCausalLM"], "model_type": "olmo", **own, **more}


def first_tensors() -> dict[str, NDArray[np.float32]]:
    tensors = {new: drawn(name) for name, new in OUTSIDE.items()}
    for i in range(2):
        for name, parts in FUSED.items():
            rows = [drawn(f"model.layers.{i}.{part}.weight") for part in parts]
            tensors[f"model.transformer.blocks.{i}.{name}.weight"] = np.concatenate(rows)
    return tensors


def test_the_file_is_the_same(tmp_path: Path) -> None:
    config = settings("olmo") | {"num_key_value_heads": 4}
    tensors = {name: drawn(name) for name in OUTSIDE}
    tensors |= {
        f"model.layers.{i}.{name}.weight": drawn(f"model.layers.{i}.{name}.weight") for i in (0, 1) for name in SHAPES
    }
    later = write(tmp_path / "f", config, tensors)
    (tmp_path / "first").mkdir()
    first = write(tmp_path / "first" / "f", first_config(), first_tensors())
    with open_hf(first) as got, open_hf(later) as want:
        assert not got.notes and got.values == want.values
    made = [convert_model(folder, tmp_path / f"{i}.gguf", "F32").path for i, folder in enumerate((first, later))]
    with open_gguf(made[0]) as a, open_gguf(made[1]) as b:
        assert a.tensors.keys() == b.tensors.keys()
        for name, tensor in b.tensors.items():
            assert np.array_equal(a.tensors[name].dequantize(), tensor.dequantize()), name


@pytest.mark.parametrize("odd", [{"alibi": True}, {"layer_norm_type": "rms"}, {"rope": False}])
def test_other_variants_are_refused(odd: dict[str, object], tmp_path: Path) -> None:
    folder = write(tmp_path / "f", first_config(**odd), first_tensors())
    with pytest.raises(BadFileError, match="is not that of the published models"), open_hf(folder):
        pass
