"""Architectures that transformers does not run, against their formulas in float64."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import IDS, VOCAB, draw, settings
from families.converted import BOUND, EXACT, write_tokenizer
from naive import nmse

from llmlocal.convert.hf_source import open_hf
from llmlocal.engine import Engine
from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf
from llmlocal.quantize.convert import convert_model


def write_baichuan(folder: Path, blocks: int, vocab: int = VOCAB, heads: int = 4) -> dict[str, Any]:
    """A folder of Baichuan, and the tensors of the Llama with the same numbers, by name."""
    from safetensors.numpy import save_file

    folder.mkdir()
    config = settings("llama") | {"rope_scaling": None, "num_hidden_layers": blocks, "vocab_size": vocab}
    config |= {"num_attention_heads": heads, "num_key_value_heads": None, "hidden_size": 8 * heads}
    parts = {"mlp.gate_proj": (56, 8 * heads), "mlp.up_proj": (56, 8 * heads), "mlp.down_proj": (8 * heads, 56)}
    parts |= {f"self_attn.{kind}_proj": (8 * heads, 8 * heads) for kind in "qkvo"}
    parts |= dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (8 * heads,))
    names = {f"model.layers.{i}.{part}.weight": shape for i in range(blocks) for part, shape in parts.items()}
    names |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (vocab, 8 * heads))
    tensors = {
        name: draw("llama", name, shape) for name, shape in (names | {"model.norm.weight": (8 * heads,)}).items()
    }
    packed = {name: x for name, x in tensors.items() if not re.search("[qkv]_proj", name)}
    for i in range(blocks):
        qkv = [tensors[f"model.layers.{i}.self_attn.{kind}_proj.weight"] for kind in "qkv"]
        packed[f"model.layers.{i}.self_attn.W_pack.weight"] = np.concatenate(qkv)
    save_file(packed, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BaichuanForCausalLM"]}))
    write_tokenizer(folder)
    return {"config": config, "tensors": tensors}


def test_folders_of_baichuan_mean_the_llama_with_the_same_numbers(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    same = write_baichuan(tmp_path / "baichuan", 2)
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(same["config"]))
    save_file(same["tensors"], tmp_path / "llama" / "model.safetensors")
    write_tokenizer(tmp_path / "llama")
    logits = []
    for name in ("llama", "baichuan"):
        path = convert_model(tmp_path / name, tmp_path / f"{name}.gguf", "F32").path
        engine = Engine.open(path, n_ctx=48, n_threads=1, kv_type=EXACT)
        assert engine.gguf.metadata["general.architecture"] == name
        logits.append(engine.prefill(IDS).copy())
        engine.close()
    assert np.array_equal(*logits)


def test_baichuan_of_40_blocks_has_linear_biases(tmp_path: Path) -> None:
    """Against the formulas in float64; heads that are no power of two, as in the 13B models."""
    heads = 6
    same = write_baichuan(tmp_path / "folder", 40, heads=heads)
    engine = Engine.open(
        convert_model(tmp_path / "folder", tmp_path / "m.gguf", "F32").path, n_ctx=48, n_threads=2, kv_type=EXACT
    )
    got = engine.prefill(IDS).copy()
    engine.close()
    w = {name: x.astype(np.float64) for name, x in same["tensors"].items()}
    slopes = [2.0 ** -(8 / 4 * k) for k in (1, 2, 3, 4)] + [2.0 ** -(8 / 8 * k) for k in (1, 3)]
    at = np.arange(len(IDS))
    bias = np.where(at[:, None] >= at, -np.array(slopes)[:, None, None] * (at[:, None] - at), -np.inf)

    def norm(x: Any, name: str) -> Any:
        return x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5) * w[f"{name}.weight"]

    x = w["model.embed_tokens.weight"][IDS]
    for i in range(40):
        block, read = f"model.layers.{i}.", norm(x, f"model.layers.{i}.input_layernorm")
        q, k, v = ((read @ w[f"{block}self_attn.{n}_proj.weight"].T).reshape(len(IDS), heads, 8) for n in "qkv")
        scores = np.exp(np.einsum("qhd,khd->hqk", q, k) / 8**0.5 + bias)
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(2, keepdims=True), v).reshape(len(IDS), -1)
        x = x + mixed @ w[f"{block}self_attn.o_proj.weight"].T
        read = norm(x, f"{block}post_attention_layernorm")
        gate, up = (read @ w[f"{block}mlp.{n}_proj.weight"].T for n in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{block}mlp.down_proj.weight"].T
    assert nmse(got, norm(x, "model.norm")[-1] @ w["lm_head.weight"].T) <= BOUND


def test_the_output_matrix_of_baichuan_2_has_rows_of_length_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vocabulary tells it from the first Baichuan."""
    monkeypatch.setattr("llmlocal.models.baichuan.VOCABULARY_2", VOCAB)
    drawn = write_baichuan(tmp_path / "folder", 1)["tensors"]["lm_head.weight"]
    with open_gguf(convert_model(tmp_path / "folder", tmp_path / "m.gguf", "F32").path) as gguf:
        output = gguf.tensors["output.weight"].dequantize()
    assert np.allclose(output, drawn / np.linalg.norm(drawn, axis=1, keepdims=True), atol=1e-6)


SMALL_THINKER = {"architectures": ["SmallThinkerForCausalLM"], "moe_num_primary_experts": 6, "rope_scaling": None}
SMALL_THINKER |= {"moe_num_active_primary_experts": 2, "moe_ffn_hidden_size": 24, "head_dim": 8, "hidden_act": None}
SMALL_THINKER |= {"num_hidden_layers": 5, "intermediate_size": None, "moe_enable_early_router": True}
ALTERNATING = {"sliding_window_layout": [0, 1, 1, 1, 0], "rope_layout": [0, 1, 1, 1, 0], "sliding_window_size": 8}


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("layout", [{}, ALTERNATING], ids=["plain", "windows"])
def test_smallthinker(layout: dict[str, Any], softmax: bool, tmp_path: Path) -> None:
    """Against the formulas in float64: routers read what attention reads, before its norm."""
    from safetensors.numpy import save_file

    config = settings("llama") | SMALL_THINKER | layout | {"moe_primary_router_apply_softmax": softmax}
    sizes = {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32)}
    sizes |= {"self_attn.o_proj": (32, 32), "input_layernorm": (32,), "post_attention_layernorm": (32,)}
    sizes["block_sparse_moe.primary_router"] = (6, 32)
    for e in range(6):
        shapes = {"gate": (24, 32), "up": (24, 32), "down": (32, 24)}
        sizes |= {f"block_sparse_moe.experts.{e}.{name}": shape for name, shape in shapes.items()}
    names = {f"model.layers.{i}.{part}.weight": shape for i in range(5) for part, shape in sizes.items()}
    names |= {"model.embed_tokens.weight": (VOCAB, 32), "lm_head.weight": (VOCAB, 32), "model.norm.weight": (32,)}
    tensors = {name: draw("llama", name, shape) for name, shape in names.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_tokenizer(tmp_path)
    made = convert_model(tmp_path, tmp_path / "m.gguf", "F32")
    assert not [note for note in made.notes if "not used" in note]
    engine = Engine.open(made.path, n_ctx=48, n_threads=2, ubatch=7, kv_type=EXACT)
    got = engine.prefill(IDS).copy()
    engine.close()
    w, at = {name: x.astype(np.float64) for name, x in tensors.items()}, np.arange(len(IDS))
    angles = at[:, None, None] * 1000.0 ** (-np.arange(4) / 4)

    def norm(x: Any, name: str) -> Any:
        return x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5) * w[f"{name}.weight"]

    def turned(x: Any) -> Any:
        low, high = x[..., :4], x[..., 4:]
        rotated = low * np.cos(angles) - high * np.sin(angles), high * np.cos(angles) + low * np.sin(angles)
        return np.concatenate(rotated, -1)

    x = w["model.embed_tokens.weight"][IDS]
    for i in range(5):
        block, slides = f"model.layers.{i}.", bool(layout) and i % 4 != 0
        scores = x @ w[f"{block}block_sparse_moe.primary_router.weight"].T
        read = norm(x, f"{block}input_layernorm")
        q, k, v = ((read @ w[f"{block}self_attn.{n}_proj.weight"].T).reshape(len(IDS), -1, 8) for n in "qkv")
        if slides or not layout:
            q, k = turned(q), turned(k)
        behind = at[:, None] - at
        seen = (behind >= 0) & (behind < (8 if slides else len(IDS)))
        heads = np.exp(np.einsum("qhd,khd->hqk", q, np.repeat(k, 2, 1)) / 8**0.5) * seen
        mixed = np.einsum("hqk,khd->qhd", heads / heads.sum(2, keepdims=True), np.repeat(v, 2, 1))
        x = x + mixed.reshape(len(IDS), -1) @ w[f"{block}self_attn.o_proj.weight"].T
        read, made_by = norm(x, f"{block}post_attention_layernorm"), np.zeros_like(x)
        for t, row in enumerate(scores):
            best = np.argsort(-row)[:2]
            weights = np.exp(row[best]) if softmax else 1 / (1 + np.exp(-row[best]))
            for e, weight in zip(best, weights / weights.sum(), strict=True):
                gate, up, down = (w[f"{block}block_sparse_moe.experts.{e}.{n}.weight"] for n in ("gate", "up", "down"))
                made_by[t] += weight * down @ (np.maximum(gate @ read[t], 0) * (up @ read[t]))
        x = x + made_by
    assert nmse(got, norm(x, "model.norm")[-1] @ w["lm_head.weight"].T) <= BOUND
    for wrong in ({"rope_layout": [1] * 4 + [0]}, {"moe_enable_secondary_experts": True}):
        (tmp_path / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(BadFileError, match=r"not supported|no other"), open_hf(tmp_path):
            pytest.fail("the folder was accepted")
