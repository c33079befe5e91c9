"""Write the trained guide as GGUF, with llmlocal's own writer; run it where llmlocal is installed.

    python tools/guide/export.py OUT guide-F16.gguf --type F16

Knows GGUF's names and keys for a llama with a byte-level vocabulary. Does not train.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from llmlocal.gguf.values import ValueType
from llmlocal.gguf.writer import GGUFWriter, TensorInfo
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all

HEAD_DIM, CONTEXT, THETA, EPS = 64, 1024, 10_000.0, 1e-5  # as in model.py
TEMPLATE = """\
{%- for message in messages -%}
    {%- if message['role'] == 'user' -%}
        {{- '<|user|>' + (message['content'] | trim) + '<|end|>' -}}
    {%- elif message['role'] == 'assistant' -%}
        {{- '<|assistant|>' + (message['content'] | trim) + '<|end|>' -}}
    {%- elif message['role'] == 'system' -%}
        {{- '<|system|>' + (message['content'] | trim) + '<|end|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant|>' -}}
{%- endif -%}
"""
DESCRIPTION = (
    "Answers questions about llmlocal itself, and nothing else. Trained from scratch by the llmlocal project on a CPU "
    "with tools/guide, on conversations that the project wrote and generated; no other data."
)
Weights = Mapping[str, NDArray[np.float32]]


def network(weights: Weights, form: str) -> dict[str, Any]:
    """Keys that say what the model is and its hyper-parameters."""
    vocab, width = weights["token_embd.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blk."))
    numbers = {
        "context_length": CONTEXT,
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": weights["blk.0.ffn_up.weight"].shape[0],
        "attention.head_count": weights["blk.0.attn_q.weight"].shape[0] // HEAD_DIM,
        "attention.head_count_kv": weights["blk.0.attn_k.weight"].shape[0] // HEAD_DIM,
        "attention.layer_norm_rms_epsilon": EPS,
        "rope.dimension_count": HEAD_DIM,
        "rope.freq_base": THETA,
        "vocab_size": vocab,
    }
    parameters = sum(w.size for w in weights.values())
    return {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "llmlocal guide",
        "general.author": "the llmlocal project",
        "general.version": "1",
        "general.license": "mit",
        "general.description": DESCRIPTION,
        "general.languages": ["en"],
        "general.size_label": f"{parameters / 1e6:.1f}M",
        "general.sampling.temp": (ValueType.F32, 0.0),
        "general.sampling.top_k": (ValueType.I32, 1),
        "general.file_type": file_type(form),
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
        **{f"llama.{key}": value for key, value in numbers.items()},
    }


def file_type(form: str) -> int:
    """GGUF's number for a file whose matrices are all of that format."""
    names = (f"ALL_{form}", f"MOSTLY_{form}")
    return next(int(gguf.LlamaFileType[n]) for n in names if n in gguf.LlamaFileType.__members__)


def vocabulary(path: Path) -> dict[str, Any]:
    """Keys of the tokenizer, from tokenizer.json."""
    data = json.loads(path.read_text())
    special = {token["content"]: token["id"] for token in data["added_tokens"]}
    tokens = sorted(data["model"]["vocab"], key=data["model"]["vocab"].__getitem__)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in data["model"]["merges"]]
    kinds = [int(gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL) for token in tokens]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": (ValueType.I32, kinds),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": special["<|end|>"],
        "tokenizer.ggml.eos_token_id": special["<|end|>"],
        "tokenizer.ggml.padding_token_id": special["<|end|>"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def export(trained: Path, out: Path, form: str) -> None:
    """Matrices in the format called `form`, vectors in F32. Raises what `GGUFWriter` raises."""
    load_all()
    weights: Weights = dict(np.load(trained / "weights.npz"))
    formats = {name: BY_NAME[form if w.ndim == 2 else "F32"] for name, w in weights.items()}
    infos = [TensorInfo(name, formats[name], w.shape) for name, w in weights.items()]
    with GGUFWriter(out, network(weights, form) | vocabulary(trained / "tokenizer.json"), infos) as writer:
        for name, w in weights.items():
            writer.write(name, formats[name].quantize(w))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", default="F16")
    options = parser.parse_args()
    export(options.trained, options.out, options.type)
