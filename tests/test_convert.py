"""Converted folders equal what llama.cpp's converter makes of them, and compute what transformers computes."""

from __future__ import annotations

import hashlib
import json
import lzma
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hf_folders import CASES, write_folder

from llmlocal.engine import Engine
from llmlocal.gguf import Array, GGUFFile, open_gguf
from llmlocal.gguf.values import TENSOR_TYPES
from llmlocal.quantize.convert import convert_model

GOLDEN = json.loads(lzma.decompress((Path(__file__).parent / "golden" / "convert.json.xz").read_bytes()))
IDS = [1, 17, 200, 33, 290, 4, 99, 250]
LONG = 32
# Said by us only: transformers has no default for it there, and it is what readers assume.
SAID = {"mixtral": {"llama.attention.key_length", "llama.attention.value_length"}}


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a case, and its conversion, made once."""
    root = tmp_path_factory.mktemp("converted")

    def made(name: str, type_name: str) -> Path:
        out = root / f"{name}.{type_name}.gguf"
        if not out.exists():
            folder = root / name
            convert_model(folder if folder.exists() else write_folder(folder, CASES[name]), out, type_name)
        return out

    return made


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


def content(gguf: GGUFFile) -> dict[str, Any]:
    """Keys and tensors in the form of the golden file."""
    keys: dict[str, Any] = {}
    for name, value in gguf.metadata.items():
        kind, plain = gguf.types[name].name, value
        if isinstance(value, Array):
            plain = value.tolist()
            kind = f"ARRAY/{value.type.name}"
            plain = digest(json.dumps(plain).encode()) if len(plain) > LONG else plain
        keys[name] = [kind.replace("U32", "UINT32").replace("I32", "INT32").replace("F32", "FLOAT32"), plain]
    tensors = {
        name: [list(t.shape), TENSOR_TYPES[t.format.id][0], digest(bytes(t.data))] for name, t in gguf.tensors.items()
    }
    return {"keys": keys, "tensors": tensors}


@pytest.mark.parametrize("type_name", ["auto", "q8_0"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_equals_llama_cpp(name: str, type_name: str, converted: Callable[..., Path]) -> None:
    """Every tensor byte for byte, every key with its type."""
    with open_gguf(converted(name, type_name)) as gguf:
        ours = content(gguf)
    theirs = GOLDEN[name][type_name]
    assert ours["tensors"] == theirs["tensors"]
    assert {k: v for k, v in theirs["keys"].items() if v != ours["keys"].get(k)} == {}
    assert ours["keys"].keys() - theirs["keys"].keys() == SAID.get(name, set())


@pytest.mark.parametrize("name", sorted(name for name in GOLDEN if "logits" in GOLDEN[name]))
def test_logits_equal_transformers(name: str, tmp_path: Path) -> None:
    """The last tokens of a prompt, all in float32."""
    out = tmp_path / "model.gguf"
    convert_model(write_folder(tmp_path / "folder", CASES[name]), out, "f32")
    wanted = np.frombuffer(b64decode(GOLDEN[name]["logits"]), np.float32).astype(np.float64)
    engine = Engine.open(out, n_threads=1)
    wanted = wanted.reshape(-1, engine.n_vocab)
    engine.prefill(IDS[: len(IDS) - len(wanted)])
    ours = np.array([engine.decode(id).copy() for id in IDS[len(IDS) - len(wanted) :]])
    assert np.sum((ours - wanted) ** 2) <= 1e-6 * np.sum(wanted**2)
