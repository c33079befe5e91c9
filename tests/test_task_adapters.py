"""Jina's embedding models bring adapters of tasks: left out, or one of them merged, with the prompt of its task."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_cases import settings
from encoder_folders import write_folder as write_encoder
from families.converted import write_tokenizer
from hf_folders import QWEN3, Case, drawn, safetensors_bytes, write_folder, write_json
from naive import nmse
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from llmlocal.convert.hf_source import open_hf
from llmlocal.embedding.settings import EmbeddingSettings
from llmlocal.gguf import open_gguf

Said = Callable[..., tuple[int, str, str]]
Floats = NDArray[np.float32]
TASKS = {"retrieval.query": "Represent the query: ", "text-matching": ""}
RANK, ALPHA = 3, 6


def jina_v3(folder: Path, **config: Any) -> Path:
    """Jina Embeddings 3 as published: under a class of transformers that is BERT otherwise, with factors of TASKS."""
    (folder / "plain").mkdir(parents=True)
    write_encoder("jina-bert-v3", folder / "plain")
    tensors = load_file(folder / "plain" / "model.safetensors")
    tensors["pooler.dense.weight"] = drawn("pooler", (32, 32))
    stored = dict[str, Floats]()
    for name, x in tensors.items():
        if x.ndim == 1:
            stored[f"roberta.{name}"] = x
            continue
        at = f"roberta.{name.removesuffix('.weight')}.parametrizations.weight"
        rows, columns = x.shape
        first, second = ((rows, RANK), (RANK, columns)) if "embeddings" in name else ((RANK, columns), (rows, RANK))
        stored |= {f"{at}.original": x}
        stored[f"{at}.0.lora_A"] = np.stack([drawn(f"A{name}{task}", first) for task in TASKS])
        stored[f"{at}.0.lora_B"] = np.stack([drawn(f"B{name}{task}", second) for task in TASKS])
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    own = {"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "position_embedding_type": "rotary"}
    own |= {"rope_parameters": None, "rotary_emb_base": 300.0, "lora_adaptations": list(TASKS), "lora_rank": RANK}
    own |= {"lora_alpha": ALPHA, "task_instructions": TASKS}
    write_json(folder / "config.json", settings("jina-bert-v3") | own | config)
    write_tokenizer(folder)
    return folder


def adapted(folder: Path, task: str) -> Path:
    """The plain folder beside `folder`'s model with the factors of a task added to its weights."""
    tensors = load_file(folder / "plain" / "model.safetensors")
    number, factors = list(TASKS).index(task), load_file(folder / "model.safetensors")
    for name in [name for name, x in tensors.items() if x.ndim == 2]:
        at = f"roberta.{name.removesuffix('.weight')}.parametrizations.weight.0.lora_"
        a, b = factors[at + "A"][number], factors[at + "B"][number]
        product = a @ b if "embeddings" in name else b @ a
        tensors[name] = tensors[name] + product * np.float32(ALPHA / RANK)
    save_file(tensors, folder / "plain" / "model.safetensors", metadata={"format": "pt"})
    return folder / "plain"


def held(folder: Path, lora: list[str]) -> tuple[Mapping[str, Any], dict[str, Floats], str]:
    with open_hf(folder, lora) as source:
        tensors = {
            name: np.asarray(t.read(0, prod(t.shape[:-1])), np.float32).reshape(t.shape)
            for name, t in source.held.items()
        }
        return source.values, tensors, " ".join(source.notes)


def test_without_a_task_the_adapters_are_left_out(tmp_path: Path) -> None:
    plain, (values, tensors, notes) = held(jina_v3(tmp_path / "a") / "plain", []), held(tmp_path / "a", [])
    assert "--lora TASK" in notes and "retrieval.query, text-matching" in notes and "not used" not in notes
    assert {**values, "general.name": ""} == {**plain[0], "general.name": ""}
    assert tensors.keys() == plain[1].keys()
    assert all(np.array_equal(x, plain[1][name]) for name, x in tensors.items())


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_merged_with_its_prompt(tmp_path: Path, task: str) -> None:
    values, tensors, notes = held(jina_v3(tmp_path / "a"), [task])
    want = held(adapted(tmp_path / "a", task), [])[1]
    assert "TASK" not in notes and tensors.keys() == want.keys()
    assert max(nmse(x, want[name]) for name, x in tensors.items()) < 1e-12
    assert EmbeddingSettings.read(values, "").prompt(None) == TASKS[task]


def jina_v5(folder: Path) -> Path:
    """Jina Embeddings 5 Text Small: Qwen3 whose adapters are PEFT folders."""
    config = QWEN3 | {"tie_word_embeddings": True, "max_window_layers": 28, "use_sliding_window": False}
    config |= {"model_type": "jina_embeddings_v5", "task_names": ["retrieval", "clustering", "lost"]}
    write_folder(folder, Case("Qwen3ForCausalLM", config | {"model_type": "qwen3"}))
    changed = json.loads((folder / "config.json").read_text()) | {"architectures": ["JinaEmbeddingsV5Model"]}
    write_json(folder / "config.json", changed | {"model_type": "jina_embeddings_v5"})
    for name in ("retrieval", "clustering"):
        adapter = folder / "adapters" / name
        adapter.mkdir(parents=True)
        parts = {"A": (RANK, 64), "B": (96, RANK)}
        at = "base_model.model.layers.0.mlp.up_proj.lora_"
        stored = {f"{at}{part}.weight": ("F32", drawn(name + part, shape)) for part, shape in parts.items()}
        (adapter / "adapter_model.safetensors").write_bytes(safetensors_bytes(stored))
        write_json(adapter / "adapter_config.json", {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA})
    return folder


def test_version_5_is_qwen3_with_peft_folders(tmp_path: Path) -> None:
    plain, changed = held(jina_v5(tmp_path / "a"), []), held(tmp_path / "a", ["clustering"])
    assert plain[0]["general.architecture"] == "qwen3" and "one of retrieval, clustering" in plain[2]
    name = "blk.0.ffn_up.weight"
    a, b = (drawn("clustering" + part, shape) for part, shape in (("A", (RANK, 64)), ("B", (96, RANK))))
    assert nmse(changed[1][name], plain[1][name] + b @ a * np.float32(ALPHA / RANK)) < 1e-12
    assert all(np.array_equal(x, plain[1][other]) for other, x in changed[1].items() if other != name)


def test_what_is_no_adapter(said: Said, tmp_path: Path) -> None:
    folder, out = jina_v3(tmp_path / "a"), tmp_path / "m.gguf"
    code, _, err = said("convert", folder, out, "--lora", "retrieval")
    assert code == 3 and "retrieval.query, text-matching" in err
    code, _, err = said("convert", folder, out, "--lora", "retrieval.query", "--lora", "text-matching")
    assert code == 2 and "two tasks" in err
    assert said("convert", folder, out, "--lora", "retrieval.query", "-q")[0] == 0
    with open_gguf(out) as gguf:
        assert gguf.metadata["sentence_transformers.default_prompt_name"] == "retrieval.query"


@pytest.mark.parametrize(
    ("config", "what"),
    [({"lora_adaptations": ["a", "b", "c"]}, "2 tasks, not of 3"), ({"lora_alpha": "six"}, "lora_alpha")],
)
def test_damaged_folders(said: Said, tmp_path: Path, config: dict[str, Any], what: str) -> None:
    folder = jina_v3(tmp_path / "a", **config)
    task = (config.get("lora_adaptations") or list(TASKS))[0]
    code, _, err = said("convert", folder, tmp_path / "m.gguf", "--lora", task)
    assert code == 5 and what in err and not (tmp_path / "m.gguf").exists()
