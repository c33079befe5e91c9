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
from hf_folders import BASE, CASES, Case, write_folder
from numpy.typing import NDArray

from llmlocal.embedding.heads import classifier
from llmlocal.embedding.settings import rank_pooling
from llmlocal.encoder import Encoder
from llmlocal.engine import Engine
from llmlocal.errors import UsageError
from llmlocal.gguf import Array, GGUFFile, open_gguf
from llmlocal.gguf.values import TENSOR_TYPES
from llmlocal.quantize.convert import convert_model

GOLDEN = json.loads(lzma.decompress((Path(__file__).parent / "golden" / "convert.json.xz").read_bytes()))
IDS = [1, 17, 200, 33, 290, 4, 99, 250]
LAST, LONG = 3, 32
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
    if "reranker" in name:
        return check_yes_and_no(out, wanted.reshape(LAST, -1)[-1])
    engine = Engine.open(out, n_threads=1)
    wanted = wanted.reshape(-1, engine.n_vocab)
    engine.prefill(IDS[: len(IDS) - len(wanted)])
    ours = np.array([engine.decode(id).copy() for id in IDS[len(IDS) - len(wanted) :]])
    assert np.sum((ours - wanted) ** 2) <= 1e-6 * np.sum(wanted**2)


def check_yes_and_no(path: Path, logits: NDArray[np.float64]) -> None:
    """The head of a reranker gives the logits of these words after the last token, and nothing else."""
    with open_gguf(path) as gguf:
        encoder = Encoder(gguf, rank_pooling(gguf), 16, 1, classifier)
        ours = encoder.run([IDS[:3], IDS])[1]
        encoder.close()
        wanted = logits[[list(gguf.metadata["tokenizer.ggml.tokens"]).index(word) for word in ("yes", "no")]]
    assert np.abs(ours - wanted).max() <= 1e-4
    with pytest.raises(UsageError, match="scores texts"):
        Engine.open(path)


@pytest.mark.parametrize("name", ["MistralForCausalLM", "Ministral3ForCausalLM"])
def test_a_sliding_window_is_obeyed(name: str, tmp_path: Path) -> None:
    """In a model of one layer the last token sees the tokens of the window and no others."""
    case = Case(name, BASE | {"num_hidden_layers": 1, "head_dim": 16, "sliding_window": 3})
    made = convert_model(write_folder(tmp_path / "folder", case), tmp_path / "m.gguf", "f32")
    assert any("sliding window of 3 tokens" in note for note in made.notes)
    engine, logits = Engine.open(made.path, n_threads=1, kv_type="f32"), []
    for first in range(len(IDS) - 1):
        engine.truncate(0)
        logits.append(engine.prefill(IDS[first:]).astype(np.float64))
    error = [float(np.sum((x - logits[0]) ** 2) / np.sum(logits[0] ** 2)) for x in logits]
    assert max(error[: len(IDS) - 2]) < 1e-9 < 1e-4 < error[len(IDS) - 2]


def test_settings_that_are_not_used_are_named(tmp_path: Path) -> None:
    """Those of training and generation are not worth a word; a byte order mark changes nothing."""
    silent = {"torch_dtype": "float32", "attention_dropout": 0.1, "temperature": 0.7, "num_beams": 4, "unknown": None}
    folder = write_folder(tmp_path / "folder", Case("LlamaForCausalLM", BASE | silent))
    assert convert_model(folder, tmp_path / "a.gguf", "f32").notes == []
    config = json.loads((folder / "config.json").read_text()) | {"sliding_window": 8, "logit_scale": 0.5}
    (folder / "config.json").write_text("\ufeff" + json.dumps(config), encoding="utf-8")
    (note,) = convert_model(folder, tmp_path / "b.gguf", "f32").notes
    assert note == "settings of config.json that are not used: logit_scale, sliding_window"
    dynamic = config | {"rope_scaling": {"type": "dynamic", "factor": 2.0}}
    (folder / "config.json").write_text(json.dumps(dynamic))
    assert any("dynamic" in note for note in convert_model(folder, tmp_path / "c.gguf", "f32").notes)


def test_a_type_is_known_in_either_case(tmp_path: Path, said: Callable[..., tuple[int, str, str]]) -> None:
    folder = write_folder(tmp_path / "folder", CASES["llama-linear"])
    for name in ("f32", "F32"):
        assert said("convert", folder, tmp_path / f"{name}.gguf", "--type", name, "-q")[0] == 0
    assert (tmp_path / "F32.gguf").read_bytes() == (tmp_path / "f32.gguf").read_bytes()
