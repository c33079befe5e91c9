"""Damage to a Hugging Face folder, and what is said of it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
from hf_folders import safetensors_bytes, weights, write_json, write_weights

INDEX = "model.safetensors.index.json"


def config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    write_json(path, {k: v for k, v in (json.loads(path.read_text()) | changes).items() if v != "gone"})


def tokenizer(folder: Path, **changes: Any) -> None:
    path = folder / "tokenizer.json"
    write_json(path, json.loads(path.read_text()) | changes)


def index(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    content = json.loads((folder / INDEX).read_text())
    change(content["weight_map"])
    write_json(folder / INDEX, content)


def first_to(name: str) -> Callable[[dict[str, str]], None]:
    def change(map: dict[str, str]) -> None:
        map[next(iter(map))] = name

    return change


def pickled(folder: Path) -> None:
    for path in folder.glob("model*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(print))


def reweighted(change: Callable[[dict[str, Any]], object], dtype: str = "F32") -> Callable[[Path], None]:
    """The folder's weights, changed before they are stored."""

    def apply(folder: Path) -> None:
        tensors: dict[str, Any] = weights(json.loads((folder / "config.json").read_text()))
        change(tensors)
        write_weights(folder, tensors, dtype, 1)

    return apply


def poison(tensors: dict[str, Any]) -> None:
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = np.nan


def pointer(name: str) -> Callable[[Path], object]:
    """Puts a Git LFS pointer in the place of a file."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"
    return lambda folder: (folder / name).write_text(text)


def truncate(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])


def header(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the header of model.safetensors, its data untouched."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    held = json.loads(data[8 : 8 + length])
    change(held)
    packed = json.dumps(held).encode()
    path.write_bytes(pack("<Q", len(packed)) + packed + data[8 + length :])


def entry(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: header(folder, lambda held: held["model.norm.weight"].update(changes))


WRONG: dict[str, tuple[str, Callable[[Path], object], int, str]] = {
    "no config": ("llama-linear", lambda f: (f / "config.json").unlink(), 3, "has no config.json"),
    "config no json": ("llama-linear", lambda f: (f / "config.json").write_text("{"), 5, "not JSON"),
    **{
        f"{name} a git lfs pointer": (case, pointer(name), 5, f"{name}: a Git LFS pointer")
        for case, name in (
            ("llama-linear", "config.json"),
            ("llama-linear", "model.safetensors"),
            ("llama-linear", "tokenizer.json"),
            ("llama-tied-bf16", "tokenizer.model"),
        )
    },
    "config a list": ("llama-linear", lambda f: (f / "config.json").write_text("[]"), 5, "must be an object"),
    "config deep": ("llama-linear", lambda f: (f / "config.json").write_text("[" * 200_000), 5, "nested too deeply"),
    "config huge number": (
        "llama-linear",
        lambda f: (f / "config.json").write_text('{"a": 1' + "0" * 5000 + "}"),
        5,
        "not JSON",
    ),
    "config not utf-8": ("llama-linear", lambda f: (f / "config.json").write_bytes(b'{"a": "\xff"}'), 5, "not UTF-8"),
    "config NaN": ("llama-linear", lambda f: (f / "config.json").write_text('{"rms_norm_eps": NaN}'), 5, "NaN"),
    "no class": ("llama-linear", lambda f: config(f, architectures=[]), 5, "does not name"),
    "unknown class": ("llama-linear", lambda f: config(f, architectures=["EvilForCausalLM"]), 5, "EvilForCausalLM"),
    "class no text": ("llama-linear", lambda f: config(f, architectures=[7]), 5, "does not name"),
    "no width": ("llama-linear", lambda f: config(f, hidden_size="gone", head_dim=16), 5, "hidden_size is missing"),
    "width a text": ("llama-linear", lambda f: config(f, hidden_size="64"), 5, "hidden_size must be an integer"),
    "wrong width": ("llama-linear", lambda f: config(f, hidden_size=128), 5, "hidden_size is 128"),
    "no heads": ("llama-linear", lambda f: config(f, num_attention_heads=0), 5, "num_attention_heads"),
    "odd heads": ("llama-linear", lambda f: config(f, num_attention_heads=5), 5, "heads"),
    "a billion blocks": ("llama-linear", lambda f: config(f, num_hidden_layers=10**9), 5, "1000000000 layers"),
    "a block too many": ("llama-linear", lambda f: config(f, num_hidden_layers=1), 5, "is unknown in architecture"),
    "rope no object": ("llama-linear", lambda f: config(f, rope_scaling=[1]), 5, "rope_parameters must be an object"),
    "rope factor": (
        "llama-linear",
        lambda f: config(f, rope_scaling={"type": "linear", "factor": "2"}),
        5,
        "factor must be",
    ),
    "rope llama3": (
        "llama-llama3-f16-shards",
        lambda f: config(f, rope_scaling={"rope_type": "llama3", "low_freq_factor": 4, "high_freq_factor": 4}),
        5,
        "out of range",
    ),
    "small vocabulary": ("llama-linear", lambda f: config(f, vocab_size=9), 5, "in a vocabulary of 9 tokens"),
    "endless vocabulary": ("llama-linear", lambda f: config(f, vocab_size=1 << 31), 5, "vocab_size is 2147483648"),
    "other vocabulary": ("llama-linear", lambda f: config(f, vocab_size=1000), 5, "for a vocabulary of 1000 tokens"),
    "quantized": (
        "llama-linear",
        lambda f: [
            config(f, quantization_config={"quant_method": "eetq"}),
            reweighted(lambda t: t.pop("lm_head.weight"))(f),
            (f / "model-2.safetensors").write_bytes(
                safetensors_bytes({"lm_head.qweight": ("I32", np.ones((4, 4), np.int32))})
            ),
        ],
        5,
        "quantized by 'eetq'",
    ),
    "fp8 with scales": (
        "llama-linear",
        reweighted(lambda t: t.update({"lm_head.weight_scale_inv": np.ones((1, 1), np.float32)})),
        5,
        "belongs to a quantized model",
    ),
    "scales under the name of DeepSeek": (
        "llama-linear",
        reweighted(lambda t: t.update({"lm_head.scale": np.ones((1, 1), np.float32)})),
        5,
        "belongs to a quantized model",
    ),
    "integers": (
        "llama-linear",
        reweighted(lambda t: t.update({"model.norm.weight": np.ones(64, np.float32)}), "I32"),
        5,
        "is I32, belongs to a quantized model",
    ),
    "half of a model": (
        "llama-llama3-f16-shards",
        lambda f: [(f / INDEX).unlink(), (f / "model-00002-of-00003.safetensors").unlink()],
        5,
        "model-00002-of-00003.safetensors' missing",
    ),
    "tensor missing": (
        "llama-linear",
        reweighted(lambda t: t.pop("model.layers.1.self_attn.k_proj.weight")),
        5,
        "'blk.1.attn_k.weight' is missing",
    ),
    "output missing": (
        "llama-linear",
        reweighted(lambda t: t.pop("lm_head.weight")),
        5,
        "'output.weight' is missing",
    ),
    "output missing, nothing said": (
        "llama-linear",
        lambda f: [reweighted(lambda t: t.pop("lm_head.weight"))(f), config(f, tie_word_embeddings="gone")],
        5,
        "'output.weight' is missing",
    ),
    "norm missing": ("mistral", reweighted(lambda t: t.pop("model.norm.weight")), 5, "'output_norm.weight' is missing"),
    "last layer missing": ("llama-linear", lambda f: config(f, num_hidden_layers=3), 5, "blk.2."),
    "tensor empty": (
        "llama-linear",
        reweighted(lambda t: t.update({"model.norm.weight": np.ones(0, np.float32)})),
        5,
        "is empty",
    ),
    "heads huge": ("llama-linear", lambda f: config(f, num_attention_heads=1 << 31), 5, "attention heads have 0"),
    "head_dim huge": ("llama-llama3-f16-shards", lambda f: config(f, head_dim=400_000_000), 5, "have 400000000 values"),
    "head_dim other": ("llama-llama3-f16-shards", lambda f: config(f, head_dim=32), 5, "attn_q.weight"),
    "context huge": ("llama-linear", lambda f: config(f, max_position_embeddings=4_000_000_000), 5, "context_length"),
    "number beyond float32": ("llama-linear", lambda f: config(f, rms_norm_eps=1e308), 5, "rms_norm_eps must be"),
    "epsilon large": ("llama-linear", lambda f: config(f, rms_norm_eps=1e30), 5, "layer_norm_rms_epsilon"),
    "half a surrogate pair": (
        "llama-linear",
        lambda f: (f / "tokenizer_config.json").write_text('{"chat_template": "\\ud800"}'),
        5,
        "surrogates",
    ),
    "other activation": ("llama-linear", lambda f: config(f, hidden_act="gelu"), 5, "hidden_act is 'gelu'"),
    "rope of another family": (
        "llama-linear",
        lambda f: config(f, rope_scaling={"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}),
        5,
        "'longrope' is not supported",
    ),
    "rope partly": ("llama-linear", lambda f: config(f, partial_rotary_factor=0.5), 5, "partial_rotary_factor"),
    "rope factor near 0": (
        "llama-linear",
        lambda f: config(f, rope_scaling={"rope_type": "linear", "factor": 1e-320}),
        5,
        "too near to 0",
    ),
    "rope partly an object": ("llama-linear", lambda f: config(f, partial_rotary_factor={}), 5, "must be a number"),
    "rope part huge": ("llama-linear", lambda f: config(f, partial_rotary_factor=1e38), 5, "partial_rotary_factor"),
    "yarn mscale": (
        "llama-yarn-biased",
        lambda f: config(f, rope_scaling={"type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.5}),
        5,
        "mscale",
    ),
    "pickles": ("llama-linear", pickled, 5, "is a pickle"),
    "no weights": ("llama-linear", lambda f: (f / "model.safetensors").unlink(), 3, "no safetensors files"),
    "empty weights": ("llama-linear", lambda f: (f / "model.safetensors").write_bytes(b""), 5, "too short"),
    "cut header": ("llama-linear", lambda f: truncate(f, 100), 5, "header of"),
    "cut data": ("llama-linear", lambda f: truncate(f, 60_000), 5, "its header describes"),
    "header length": (
        "llama-linear",
        lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}"),
        5,
        "header of 18446744073709551615 bytes",
    ),
    "overlap": ("llama-linear", entry(data_offsets=[0, 128]), 5, "overlaps"),
    "outside": ("llama-linear", entry(data_offsets=[1 << 40, (1 << 40) + 128]), 5, "gap"),
    "backwards": ("llama-linear", entry(data_offsets=[128, 0]), 5, "needs 128 bytes"),
    "offsets text": ("llama-linear", entry(data_offsets=["0", "128"]), 5, "needs dtype, shape and data_offsets"),
    "offsets true": ("llama-linear", entry(data_offsets=[False, True]), 5, "needs 128 bytes"),
    "shape negative": ("llama-linear", entry(shape=[-64]), 5, "impossible shape"),
    "shape huge": ("llama-linear", entry(shape=[1 << 47, 1 << 47, 1 << 47]), 5, "needs"),
    "shape many": ("llama-linear", entry(shape=[1] * 99), 5, "impossible shape"),
    "type unknown": ("llama-linear", entry(dtype="F17"), 5, "unknown type 'F17'"),
    "NaN": ("llama-linear", reweighted(poison), 5, "contains NaN or infinity"),
    "wrong shape": (
        "llama-linear",
        reweighted(lambda t: t.update({"model.layers.0.mlp.down_proj.weight": np.ones((63, 96), np.float32)})),
        5,
        "blk.0.ffn_down.weight",
    ),
    "strange tensor": ("llama-linear", reweighted(lambda t: t.update({"evil": np.ones(4, np.float32)})), 5, "'evil'"),
    "name moves the terminal": (
        "llama-linear",
        reweighted(lambda t: t.update({"\x1b[2J": np.ones(4, np.float32)})),
        5,
        r"\x1b[2J",
    ),
    "expert missing": (
        "mixtral",
        reweighted(lambda t: t.pop("model.layers.0.block_sparse_moe.experts.1.w1.weight")),
        5,
        "missing for some experts",
    ),
    "shard missing": (
        "llama-llama3-f16-shards",
        lambda f: (f / "model-00002-of-00003.safetensors").unlink(),
        5,
        "model-00002-of-00003.safetensors missing",
    ),
    "shard above": (
        "llama-llama3-f16-shards",
        lambda f: index(f, first_to("../model.safetensors")),
        5,
        "not the name",
    ),
    "shard absolute": ("llama-llama3-f16-shards", lambda f: index(f, first_to("/etc/passwd")), 5, "not the name"),
    "shard with a long name": (
        "llama-llama3-f16-shards",
        lambda f: index(f, first_to(f"{'x' * 4000}.safetensors")),
        5,
        "xxx missing",
    ),
    "shard other name": ("llama-llama3-f16-shards", lambda f: index(f, first_to("config.json")), 5, "not the name"),
    "index map": ("llama-llama3-f16-shards", lambda f: write_json(f / INDEX, {"weight_map": [1]}), 5, "must map"),
    "index one too many": (
        "llama-llama3-f16-shards",
        lambda f: index(f, lambda m: m.update(x=m["lm_head.weight"])),
        5,
        "'x'",
    ),
    "index one too few": (
        "llama-llama3-f16-shards",
        lambda f: index(f, lambda m: m.pop("lm_head.weight")),
        5,
        "lm_head",
    ),
    "no tokenizer": ("llama-linear", lambda f: (f / "tokenizer.json").unlink(), 3, "has no tokenizer"),
    "vocabulary a list": (
        "llama-linear",
        lambda f: tokenizer(f, model={"type": "BPE", "vocab": [], "merges": []}),
        5,
        "no vocabulary",
    ),
    "vocabulary ids": (
        "llama-linear",
        lambda f: tokenizer(f, model={"type": "BPE", "vocab": {"a": "0"}, "merges": ["a a"]}),
        5,
        "is not a token",
    ),
    "merges": (
        "llama-linear",
        lambda f: tokenizer(f, model={"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b", "c"]]}),
        5,
        "is not a merge",
    ),
    "kind of tokenizer": ("llama-linear", lambda f: tokenizer(f, model={"type": "WordLevel"}), 5, "'WordLevel'"),
    "unknown cuts": (
        "llama-linear",
        lambda f: tokenizer(f, pre_tokenizer={"type": "Split", "pattern": {"Regex": "e+"}, "behavior": "Isolated"}),
        5,
        "is not known",
    ),
    "sentencepiece": (
        "mistral",
        lambda f: (f / "tokenizer.model").write_bytes(b"\x0a\xff\xff"),
        5,
        "is not a SentencePiece model",
    ),
    "added token": (
        "mistral",
        lambda f: write_json(f / "tokenizer_config.json", {"added_tokens_decoder": {"one": {"content": "x"}}}),
        5,
        "'one' has no id",
    ),
}
