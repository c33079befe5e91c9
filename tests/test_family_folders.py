"""Folders that say the same in another way, and what of a folder is left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from families import IDS, VOCAB, draw, golden, settings, write_weights
from families.converted import EXACT, write_folder, write_tokenizer
from naive import nmse
from safetensors.numpy import save_file

from llmlocal.cli.views.hf_folder import folder_facts
from llmlocal.convert.hf_source import open_hf
from llmlocal.engine import Engine
from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import write_gguf
from llmlocal.quant.tensor import QTensor
from llmlocal.quantize.convert import convert_model


@pytest.mark.parametrize("case", ["gemma", "gemma2-long-window", "gemma3"])
def test_an_output_matrix_of_its_own_is_kept(case: str, tmp_path: Path) -> None:
    """With tie_word_embeddings false, as transformers does; where it is true, the embedding is used."""
    write_weights(tmp_path, case, golden(case)[0] | {"lm_head.weight": (VOCAB, 32)})
    write_tokenizer(tmp_path)
    for tied in (True, False):
        (tmp_path / "config.json").write_text(json.dumps(settings(case) | {"tie_word_embeddings": tied}))
        with open_hf(tmp_path) as source:
            assert ("output.weight" in {t.name for t in source.tensors}) is not tied
            assert [note for note in source.notes if "llama.cpp" not in note] == []
            assert bool(source.notes) is (not tied and case != "gemma3")  # llama.cpp reads it for Gemma 3


def test_folders_of_internlm2_mean_the_llama_with_the_same_numbers(tmp_path: Path) -> None:
    """Queries, keys and values of each group lie in one tensor; all other tensors have other names only."""
    from safetensors.numpy import load_file, save_file

    config = settings("llama") | {"rope_scaling": None}
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    names = {"self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2"}
    names |= {"mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "lm_head": "output"}
    names |= {"post_attention_layernorm": "ffn_norm", "embed_tokens": "tok_embeddings"}
    logits = []
    for name in ("LlamaForCausalLM", "InternLM2ForCausalLM"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config | {"architectures": [name]}))
        write_weights(folder, "llama", golden("llama")[0])
        write_tokenizer(folder)
        if name == "InternLM2ForCausalLM":
            tensors = load_file(folder / "model.safetensors")
            for i in range(config["num_hidden_layers"]):
                parts = (tensors.pop(f"model.layers.{i}.self_attn.{kind}_proj.weight") for kind in "qkv")
                q, k, v = (part.reshape(groups, -1, 8, part.shape[1]) for part in parts)
                together = np.concatenate([q, k, v], axis=1)
                assert together.shape[:2] == (groups, heads // groups + 2)
                tensors[f"model.layers.{i}.attention.wqkv.weight"] = together.reshape(-1, together.shape[-1])
            for old, new in names.items():
                tensors = {key.replace(old, new): tensor for key, tensor in tensors.items()}
            save_file({key: np.ascontiguousarray(t) for key, t in tensors.items()}, folder / "model.safetensors")
        engine = Engine.open(convert_model(folder, folder / "m.gguf", "F32").path, n_ctx=48, n_threads=1, kv_type=EXACT)
        assert engine.gguf.metadata["general.architecture"] == ("llama" if not logits else "internlm2")
        logits.append(engine.prefill(IDS).copy())
        engine.close()
    assert np.array_equal(*logits)


def test_experts_of_qwen3_vl_may_lie_on_their_side(tmp_path: Path) -> None:
    """Published folders have them (experts, inputs, outputs), transformers 5 writes (experts, outputs, inputs)."""
    from safetensors.numpy import load_file, save_file

    files = []
    for name in ("written", "published"):
        folder = tmp_path / name
        folder.mkdir()
        write_folder("qwen3vlmoe", folder)
        if name == "published":
            tensors = load_file(folder / "model.safetensors")
            turned = {key: np.ascontiguousarray(x.swapaxes(1, 2)) for key, x in tensors.items() if ".experts." in key}
            assert len(turned) == 4
            save_file(tensors | turned, folder / "model.safetensors")
        with open_gguf(convert_model(folder, folder / "m.gguf", "F32").path) as gguf:
            files.append({tensor.name: tensor.dequantize() for tensor in gguf.tensors.values()})
    assert files[0].keys() == files[1].keys()
    assert all(np.array_equal(x, files[1][name]) for name, x in files[0].items())


def test_weights_of_bitnet_have_three_values(tmp_path: Path) -> None:
    """Where transformers rounds them as it reads them; a scale beside them, as some files have it, changes nothing."""
    write_folder("bitnet", tmp_path)
    config = settings("bitnet") | {"quantization_config": {"quant_method": "bitnet", "quantization_mode": "online"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    path, logits = convert_model(tmp_path, tmp_path / "m.gguf", "F32").path, []
    with open_gguf(path) as gguf:
        apart = {t.name: t for t in gguf.tensors.values()}
        for name, tensor in gguf.tensors.items():
            if "_norm" not in name and name.startswith("blk."):
                values = tensor.dequantize()
                low, none, high = np.unique(values)
                assert low == -high and none == 0
                scale = QTensor(name.replace("weight", "scale"), tensor.format, (1,), memoryview(high.tobytes()))
                signs = memoryview(np.sign(values).tobytes())
                apart |= {name: QTensor(name, tensor.format, tensor.shape, signs), scale.name: scale}
        assert len(apart) == len(gguf.tensors) + 7 * config["num_hidden_layers"]
        whole = gguf.tensors["blk.1.attn_k.weight"].dequantize()
        write_gguf(tmp_path / "apart.gguf", gguf.metadata.raw(), apart.values())
    for file in (path, tmp_path / "apart.gguf"):
        engine = Engine.open(file, n_ctx=48, n_threads=1, kv_type=EXACT)
        logits.append(engine.prefill(IDS).copy())
        engine.close()
    assert nmse(logits[1], logits[0]) <= 1e-11
    name = "model.layers.1.self_attn.k_proj.weight"
    drawn = draw("bitnet", name, whole.shape)
    mean = np.abs(drawn).mean()
    assert np.allclose(whole, np.clip(np.rint(drawn / mean), -1, 1) * mean, rtol=1e-6)


@pytest.mark.parametrize("case", ["gemma3n", "gemma4-experts"])
def test_towers_are_left_out_and_said(case: str, tmp_path: Path) -> None:
    write_folder(case, tmp_path)
    towers = {f"model.{kind}_tower.layers.0.weight": (4, 4) for kind in ("vision", "audio")}
    write_weights(tmp_path, case, golden(case)[0] | towers | {"model.embed_vision.embedding_projection.weight": (4, 4)})
    with open_hf(tmp_path) as source:
        assert folder_facts(source)["notes"] == [
            "3 tensors for images or sound are left out: the model reads and writes text"
        ]
        assert not [t.name for t in source.tensors if "tower" in t.name or "vision" in t.name]


@pytest.mark.parametrize(("first", "accepted"), [(0.25, True), (0.3, False)])
def test_slopes_of_jais_are_the_usual_ones(first: float, accepted: bool, tmp_path: Path) -> None:
    """They are tensors of the folder, and follow from one number in a file: 2^(-8 / 4) for six heads."""
    from safetensors.numpy import save_file

    write_folder("jais", tmp_path)
    tensors = {name: draw("jais", name, shape) for name, shape in golden("jais")[0].items()}
    slopes = np.array([first**k for k in (1, 2, 3, 4, 0.5, 1.5)], np.float32)
    save_file(tensors | {"transformer.relative_pe.slopes": slopes}, tmp_path / "model.safetensors")
    if not accepted:
        with pytest.raises(BadFileError, match="slopes"), open_hf(tmp_path):
            pytest.fail("the folder was accepted")
        return
    with open_hf(tmp_path) as source:
        assert source.values["jais.attention.max_alibi_bias"] == 8


def test_the_first_folders_of_mamba_mean_the_same_with_current_names(tmp_path: Path) -> None:
    """Their config.json has few settings, under other names; the others are those of the first models."""
    shapes = golden("mamba")[0] | {"lm_head.weight": (VOCAB, 32)}
    for name, shape in shapes.items():  # the rank of time steps is a sixteenth of the width there
        shapes[name] = {"dt_proj.weight": (64, 2), "x_proj.weight": (2 + 2 * 16, 64)}.get(
            name.split("mixer.")[-1], shape
        )
    first = {"architectures": ["MambaLMHeadModel"], "d_model": 32, "n_layer": 2, "vocab_size": VOCAB - 1, "ssm_cfg": {}}
    first |= {"rms_norm": True, "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8}
    now = settings("mamba") | {"time_step_rank": "auto", "tie_word_embeddings": True}
    made = []
    for config in (first, now):
        old, folder = config is first, tmp_path / config["architectures"][0]
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        names = {name: name.replace("embeddings", "embedding") if old else name for name in shapes}
        save_file(
            {names[name]: draw("mamba", name, shape) for name, shape in shapes.items()}, folder / "model.safetensors"
        )
        write_tokenizer(folder)
        with open_hf(folder) as source:
            assert not [note for note in source.notes if "not used" in note]
            streams = {t.name: source.tensor(t.name).stream for t in source.tensors}
            keys = {key: value for key, value in source.values.items() if key.startswith("mamba.")}
            made.append((keys, {name: x.read(0, x.rows).tobytes() for name, x in streams.items()}))
    assert made[0] == made[1]
    (folder / "config.json").write_text(json.dumps(first | {"ssm_cfg": {"layer": "Mamba2"}}))
    with pytest.raises(BadFileError, match="ssm_cfg"), open_hf(folder):
        pytest.fail("the folder was accepted")
