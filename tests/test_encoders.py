"""Tiny encoders, converted and run over packed texts, against what transformers computed for each text alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_cases import CASES, GOLDEN, PAIR, TEXTS, TOKENIZERS, TYPES, golden, result_of, settings
from encoder_folders import models_of, write_folder
from families import VOCAB
from families.converted import BOUND
from families.refusals import NOT_READ, ODD
from hf_folders import write_json
from naive import nmse
from numpy.typing import NDArray
from poisoned_memory import poison
from safetensors.numpy import load_file, save_file

from llmlocal.convert.hf_source import open_hf
from llmlocal.convert.vocabulary import read_vocabulary
from llmlocal.embedding.heads import classifier, masked_words
from llmlocal.embedding.masked_words import fill
from llmlocal.embedding.settings import rank_pooling
from llmlocal.embedding.text_pair import pair_ids
from llmlocal.encoder import CLS, Encoder, Head
from llmlocal.engine import Engine
from llmlocal.errors import BadFileError, NotFoundError, UsageError
from llmlocal.gguf import open_gguf
from llmlocal.gguf.reader import GGUFFile
from llmlocal.gguf.writer import write_gguf
from llmlocal.hf.config import Settings
from llmlocal.hf.folder import Folder
from llmlocal.quant.tensor import QTensor
from llmlocal.quantize.convert import convert_model
from llmlocal.runtime.graph import Graph
from llmlocal.tokenizer import load

HEADS: Mapping[str, tuple[str, Head | None]] = {
    "states": ("tokens", None),
    "scores": (CLS, classifier),
    "words": ("tokens", masked_words),
}

DECODERS = ("qwen3",)


model = models_of(CASES)
# Of each kind of model a case, and of heads: in the others the checks of keys and tensors find the same words.
OF_EACH_KIND = {
    *{config["model_type"]: case for case, (_, config) in reversed(CASES.items())}.values(),
    *("bert-classifier", "bert-masked"),
}
checked = models_of([case if case in OF_EACH_KIND else pytest.param(case, marks=pytest.mark.slow) for case in CASES])


def opened(case: str, gguf: GGUFFile, threads: int = 2) -> Encoder:
    pooling, head = HEADS[result_of(case)]
    if pooling == CLS:
        pooling = rank_pooling(gguf)
    return Encoder(gguf, pooling, n_ctx=40, n_threads=threads, head=head, rows=128)


def results(case: str, encoder: Encoder, texts: list[list[int]], types: list[list[int]]) -> NDArray[np.float32]:
    rows = range(sum(map(len, texts))) if encoder.pooling == "tokens" else None
    return encoder.run(texts, types=types, rows=rows)


def test_results_are_those_of_transformers(model: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory that nobody has written."""
    poison(monkeypatch)
    case, path = model
    with open_gguf(path) as gguf:
        encoder = opened(case, gguf)
        got, (_, want) = results(case, encoder, TEXTS, TYPES), golden(case)
        encoder.close()
    assert got.shape == want.shape and nmse(got, want) <= BOUND


def test_a_text_means_the_same_alone_and_for_all_threads(model: tuple[str, Path]) -> None:
    case, path = model
    with open_gguf(path) as gguf:
        one, five = opened(case, gguf, 1), opened(case, gguf, 5)
        together = results(case, one, TEXTS, TYPES)
        assert np.array_equal(results(case, five, TEXTS, TYPES), together)
        alone = [results(case, five, [ids], [types]) for ids, types in zip(TEXTS, TYPES, strict=True)]
        one.close()
        five.close()
    assert nmse(np.concatenate(alone), together) <= 1e-9


def test_no_setting_of_a_usual_folder_is_called_unused(model: tuple[str, Path]) -> None:
    with open_hf(model[1].parent) as source:
        assert not [note for note in source.notes if "not used" in note]
        # llama.cpp does not load heads for words, nor biases of experts, and has tanh in DistilBERT's classifier;
        # neo-bert has no head for words in GGUF
        noted = ("nomic-bert-moe", "neo-bert", "distilbert-classifier")
        assert bool(source.notes) is (result_of(model[0]) == "words" or model[0] in noted)


def test_generation_says_what_to_use(model: tuple[str, Path]) -> None:
    case, path = model
    if case in DECODERS:
        Engine.open(path, n_ctx=16, n_threads=1).close()
        return
    with pytest.raises(UsageError, match="is an encoder") as raised:
        Engine.open(path)
    assert "llmlocal embed" in raised.value.hint


@pytest.mark.parametrize(("case", "head"), [("bert", classifier), ("bert", masked_words), ("roberta", classifier)])
def test_a_head_that_is_missing_is_said(case: str, head: Head, tmp_path: Path) -> None:
    write_folder(case, tmp_path)
    path = convert_model(tmp_path, tmp_path / "m.gguf", "F32").path
    with open_gguf(path) as gguf, pytest.raises(UsageError, match="has no head"):
        Encoder(gguf, CLS, n_ctx=8, n_threads=1, head=head)


def test_jina_reranker_1_has_a_head_of_one_layer(tmp_path: Path) -> None:
    """As its GGUF files have it: a score between -1 and 1 of the first state."""
    write_folder("jina-bert-v2", tmp_path)
    path, rng = convert_model(tmp_path, tmp_path / "m.gguf", "F32").path, np.random.default_rng(3)
    head = {"cls.weight": rng.standard_normal((1, 32), np.float32), "cls.bias": rng.standard_normal(1, np.float32)}
    with open_gguf(path) as gguf:
        states = opened("jina-bert-v2", gguf)
        firsts = np.cumsum([0, *map(len, TEXTS)])[:-1]
        want = np.tanh(results("jina-bert-v2", states, TEXTS, TYPES)[firsts] @ head["cls.weight"].T + head["cls.bias"])
        states.close()
        f32 = gguf.tensors["token_embd_norm.weight"].format
        layer = [QTensor(name, f32, x.shape, memoryview(x.tobytes())) for name, x in head.items()]
        keys = {**gguf.metadata.raw(), "jina-bert-v2.pooling_type": 4}
        write_gguf(tmp_path / "rank.gguf", keys, [*gguf.tensors.values(), *layer])
    with open_gguf(tmp_path / "rank.gguf") as gguf:
        encoder = Encoder(gguf, rank_pooling(gguf), n_ctx=40, n_threads=1, head=classifier)
        assert nmse(encoder.run(TEXTS, types=TYPES), want) <= BOUND
        encoder.close()


def test_folders_of_jina_reranker_2_mean_the_xlm_roberta_with_the_same_numbers(tmp_path: Path) -> None:
    """Queries, keys and values lie in one tensor; all others have other names only."""
    case = "xlm-roberta-classifier"
    write_folder(case, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    names = {"embeddings.LayerNorm": "emb_ln", "attention.output.dense": "mixer.out_proj"}
    names |= {"attention.output.LayerNorm": "norm1", "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"}
    names |= {"output.LayerNorm": "norm2", "encoder.layer.": "encoder.layers."}
    for i in range(settings(case)["num_hidden_layers"]):
        for part in ("weight", "bias"):
            at = f"roberta.encoder.layer.{i}."
            parts = [tensors.pop(f"{at}attention.self.{name}.{part}") for name in ("query", "key", "value")]
            tensors[f"{at}mixer.Wqkv.{part}"] = np.concatenate(parts)
    for old, new in names.items():
        tensors = {name.replace(old, new): x for name, x in tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    with open_gguf(convert_model(tmp_path, tmp_path / "m.gguf", "F32").path) as gguf:
        encoder = opened(case, gguf)
        assert nmse(results(case, encoder, TEXTS, TYPES), golden(case)[1]) <= BOUND
        encoder.close()


# ---- texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_texts_have_the_tokens_of_transformers(kind: str, tmp_path: Path) -> None:
    kept = json.loads((GOLDEN / f"{kind}.json").read_text())
    for name, content in {**kept["files"], "config.json": {}}.items():
        write_json(tmp_path / name, content)
    keys = read_vocabulary(Settings(Folder(tmp_path), {}), needs_json=True)
    tokenizer = load({key: value[1] if isinstance(value, tuple) else value for key, value in keys.items()})
    for text, ids in kept["ids"].items():
        assert tokenizer.encode(text, parse_special=True) == ids, text
    first, second = (tokenizer.encode(text, add_special=False) for text in PAIR)
    assert pair_ids(tokenizer, first, second)[0] == kept["pair"]


@pytest.mark.parametrize("case", ["albert-masked", "deberta-v2-masked"])
def test_fill_predicts_masked_words(case: str, tmp_path: Path) -> None:
    """With their own vocabularies: the mask is found, and the likeliest tokens are those of the logits."""
    kept = json.loads((GOLDEN / f"{case.removesuffix('-masked')}-tokenizer.json").read_text())
    write_folder(case, tmp_path)
    for name, content in kept["files"].items():
        write_json(tmp_path / name, content)
    path = convert_model(tmp_path, tmp_path / "m.gguf", "F32").path
    ids = kept["ids"]["a [MASK] cat"]
    with open_gguf(path) as gguf:
        encoder = Encoder(gguf, "tokens", 16, 1, masked_words, rows=2)
        logits = encoder.run([ids], rows=[ids.index(4)])[0]
        encoder.close()
    (found,) = fill(path, "a [MASK] cat", top=3, n_threads=1)
    assert [word.id for word in found] == np.argsort(-logits)[:3].tolist()


def test_gate_and_up_may_be_one_matrix(tmp_path: Path) -> None:
    """As llama.cpp writes files of Jina Embeddings 2 since 2025, gate first."""
    write_folder("jina-bert-v2", tmp_path)
    with open_gguf(convert_model(tmp_path, tmp_path / "m.gguf", "F32").path) as gguf:
        other: dict[str, QTensor | None] = {}
        for i in range(2):
            gate, up = (gguf.tensors[f"blk.{i}.ffn_{name}.weight"] for name in ("gate", "up"))
            whole = np.concatenate([gate.dequantize(), up.dequantize()])
            other[f"blk.{i}.ffn_gate.weight"] = None
            other[up.name] = QTensor(up.name, up.format, whole.shape, memoryview(whole.tobytes()))
        fused: Any = Changed(gguf, {}, other)
        encoders = [opened("jina-bert-v2", file, 1) for file in (gguf, fused)]
        apart, together = (results("jina-bert-v2", encoder, TEXTS, TYPES) for encoder in encoders)
        for encoder in encoders:
            encoder.close()
    assert nmse(together, apart) <= 1e-9


@pytest.mark.parametrize("case", ["albert", "deberta-v2", "xlnet"])
def test_a_folder_without_tokenizer_json_says_how_to_make_it(case: str, tmp_path: Path) -> None:
    write_folder(case, tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "spiece.model").write_bytes(b"")
    with pytest.raises(NotFoundError, match=r"no tokenizer\.json") as raised, open_hf(tmp_path):
        pytest.fail("the folder was accepted")
    assert "save_pretrained" in raised.value.hint


def test_the_token_for_classifiers_is_a_part_of_its_own(tmp_path: Path) -> None:
    """XLNet: states change with the id that the file names, as if its type were neither 0 nor 1."""
    write_folder("xlnet", tmp_path)
    with open_gguf(convert_model(tmp_path, tmp_path / "m.gguf", "F32").path) as gguf:
        named: Any = Changed(gguf, {"tokenizer.ggml.cls_token_id": 9}, {})
        results = []
        for file in (named, gguf):
            encoder = opened("xlnet", file, 1)
            results.append(encoder.run([[5, 9]], types=[[0, 2 * (file is gguf)]], rows=[0, 1]))
            results.append(encoder.run([[5, 9]], rows=[0, 1]))
            encoder.close()
    as_named, also_named, as_typed, plain = results
    assert np.array_equal(as_named, as_typed) and np.array_equal(as_named, also_named)
    assert nmse(as_named, plain) > 1e-6


# ---- refusals ------------------------------------------------------------------------------------------------------


class Accepted(Exception):
    """The model passed every check: kernels would be prepared now."""


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(_: object) -> None:
        raise Accepted

    monkeypatch.setattr(Graph, "finish", finish)


class Changed:
    """An open file with other keys and tensors; None takes one away."""

    def __init__(self, gguf: GGUFFile, keys: Mapping[str, Any], tensors: Mapping[str, QTensor | None]) -> None:
        self.path = gguf.path
        self.metadata = {k: v for k, v in {**gguf.metadata, **keys}.items() if v is not None}
        self.tensors = {k: v for k, v in {**gguf.tensors, **tensors}.items() if v is not None}
        self.forget = gguf.forget


def said(gguf: GGUFFile, case: str, keys: Mapping[str, Any] = {}, tensors: Mapping[str, QTensor | None] = {}) -> str:
    """What is said of the changed file, empty where it is accepted."""
    changed: Any = Changed(gguf, keys, tensors)
    try:
        opened(case, changed, 1)
    except Accepted:
        return ""
    except (BadFileError, UsageError) as error:
        assert "\n" not in str(error)
        return str(error)
    raise AssertionError("the program ran")


@pytest.mark.usefixtures("nothing_runs")
def test_every_odd_hyper_parameter_is_refused_or_understood(checked: tuple[str, Path]) -> None:
    case, path = checked
    with open_gguf(path) as gguf:
        assert not said(gguf, case)
        arch = gguf.metadata["general.architecture"]
        for key in gguf.metadata:
            if key.startswith(f"{arch}."):
                answers = {repr(odd): said(gguf, case, {key: odd}) for odd in ODD}
                assert answers["'4'"] or key.endswith(("output_labels", "pooling_type", *NOT_READ)), key
        for key in ("embedding_length", "block_count", "attention.head_count", "feed_forward_length", "context_length"):
            assert f"{arch}.{key} is missing" in said(gguf, case, {f"{arch}.{key}": None})


# Without token types the model has none; without biases by distance a block of T5 has those of the block before.
OPTIONAL = ("bias", "token_types.weight", "1.attn_rel_b.weight")


@pytest.mark.usefixtures("nothing_runs")
def test_missing_and_misshapen_tensors_are_refused(checked: tuple[str, Path]) -> None:
    case, path = checked
    with open_gguf(path) as gguf:
        for name, tensor in gguf.tensors.items():
            *rows, k = tensor.shape
            if not name.endswith(OPTIONAL) or "norm" in name:
                assert said(gguf, case, tensors={name: None}), name
            other = QTensor(name, tensor.format, (*rows, k + 1), memoryview(bytes(4 * (k + 1) * tensor.rows)))
            assert f"'{name}' is" in said(gguf, case, tensors={name: other})


@pytest.mark.parametrize(
    ("case", "other"),
    [
        ("bert", {"hidden_act": "relu"}),
        ("bert", {"hidden_act": "gelu_new"}),
        ("bert", {"position_embedding_type": "relative_key"}),
        ("electra", {"embedding_size": 16}),
        ("jina-bert-v2", {"feed_forward_type": "reglu"}),
        ("jina-bert-v2", {"position_embedding_type": "absolute"}),
        ("jina-bert-v3", {"position_embedding_type": "absolute"}),
        ("nomic-bert-moe", {"moe_normalize_expert_weights": True}),
        ("nomic-bert-moe", {"num_experts": 3}),
        ("distilbert", {"activation": "relu"}),
        ("albert", {"inner_group_num": 2}),
        ("albert", {"num_hidden_groups": 3}),
        ("albert", {"hidden_act": "relu"}),
        ("deberta-v2", {"conv_kernel_size": 3}),
        ("deberta-v2", {"pos_att_type": "c2p"}),
        ("deberta-v2", {"relative_attention": False}),
        ("deberta-v2", {"position_biased_input": True}),
        ("deberta-v2", {"embedding_size": 16}),
        ("deberta", {"talking_head": True}),
        ("xlnet", {"attn_type": "uni"}),
        ("xlnet", {"bi_data": True}),
        ("xlnet", {"clamp_len": 4}),
        ("xlnet-classifier", {"summary_type": "first"}),
    ],
)
def test_settings_that_gguf_cannot_say_are_refused(case: str, other: dict[str, Any], tmp_path: Path) -> None:
    write_folder(case, tmp_path, other)
    with pytest.raises(BadFileError, match=next(iter(other))), open_hf(tmp_path):
        pytest.fail("the folder was accepted")


def test_ids_and_lengths_are_checked(tmp_path: Path) -> None:
    write_folder("bert", tmp_path)
    with open_gguf(convert_model(tmp_path, tmp_path / "m.gguf", "F32").path) as gguf:
        encoder = opened("bert", gguf)
        for texts in ([[]], [[1] * 41], [[VOCAB]], [[-1]]):
            with pytest.raises(UsageError):
                encoder.run(texts)
        lengths = [40, 1, 1, 40, *[7] * 300]
        batches = list(encoder.batches(lengths))
        assert [i for batch in batches for i in batch] == list(range(len(lengths))) and len(batches) > 1
        encoder.close()
