"""LoRA adapters as they are given: what is refused, and that everything which keeps an answer counts them."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_cases import ANSWERING
from encoder_folders import write_folder as write_encoder_decoder
from hf_folders import drawn, safetensors_bytes, write_json
from numpy.typing import NDArray
from served import running, tiny
from test_convert_lora import factors, values, write_peft
from test_lora import llama, logits

import llmlocal
from llmlocal.chat import store
from llmlocal.cli.main import main
from llmlocal.errors import BadFileError, LlmlocalError, ResourceError, UsageError
from llmlocal.generation.session import Session
from llmlocal.gguf import TensorInfo, ValueType, open_gguf
from llmlocal.gguf.writer import GGUFWriter
from llmlocal.lora import adapter as adapters
from llmlocal.model_info.memory import memory
from llmlocal.quant.format import BY_NAME
from llmlocal.quantize.convert import convert_model
from llmlocal.serving.settings import Settings
from llmlocal.serving.vector_model import VectorModel

__all__ = ["llama", "tiny"]  # fixtures
Said = Callable[..., tuple[int, str, str]]
Floats = NDArray[np.float32]
Q = "blk.0.attn_q.weight"
PAIR = {f"{Q}.lora_a": np.ones((4, 64), np.float32), f"{Q}.lora_b": np.ones((64, 4), np.float32)}


def write_gguf(path: Path, tensors: Mapping[str, Floats], **metadata: Any) -> Path:
    """A GGUF adapter for a llama; `metadata` changes it, None removes a key."""
    keys = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    keys["adapter.lora.alpha"] = (ValueType.F32, 4.0)  # type: ignore[assignment]
    keys |= {key.replace("__", "."): value for key, value in metadata.items()}
    infos = [TensorInfo(name, BY_NAME["F32"], x.shape) for name, x in tensors.items()]
    with GGUFWriter(path, {key: value for key, value in keys.items() if value is not None}, infos) as writer:
        for name, x in tensors.items():
            writer.write(name, np.ascontiguousarray(x))
    return path


def one(name: str, *shape: int) -> dict[str, Floats]:
    return {name: np.ones(shape, np.float32)}


@pytest.mark.parametrize(
    ("tensors", "metadata", "words"),
    [
        (PAIR, {"general__architecture": "gemma"}, "is for gemma, the model is llama"),
        (PAIR, {"general__architecture": None}, "is for None, the model is llama"),
        (PAIR, {"adapter__type": "control_vector"}, "is not a LoRA adapter"),
        (PAIR, {"adapter__lora__alpha": "4"}, "alpha is '4', not a number"),
        (PAIR, {"adapter__alora__invocation_tokens": (ValueType.U32, [1])}, "invocation_tokens is not supported"),
        ({}, {}, "changes no tensor"),
        (PAIR | one(f"{Q}.lora_a", 4, 32), {}, "factors of shape (64, 32) for a tensor of (64, 64)"),
        (PAIR | one(f"{Q}.lora_b", 64, 3), {}, "factors of shape (64, 64) for a tensor of (64, 64)"),
        (one(f"{Q}.lora_a", 4, 64), {}, f"tensor '{Q}' is not a pair of LoRA factors"),
        (PAIR | one("blk.0.attn_q.bias", 64), {}, "tensor 'blk.0.attn_q.bias' is no LoRA factor"),
        (one("blk.9.attn_q.weight.lora_a", 4, 64) | one("blk.9.attn_q.weight.lora_b", 64, 4), {}, "has no tensor"),
        (one("output_norm.weight.lora_a", 1, 64) | one("output_norm.weight.lora_b", 1, 1), {}, "for a tensor of (64,)"),
        (one("x.lora_a", 2, 4, 64) | one("x.lora_b", 2, 64, 4), {}, "factors of the experts of a mixture"),
        (PAIR | {f"{Q}.lora_a": np.full((4, 64), np.nan, np.float32)}, {}, "contain NaN or infinity"),
        (PAIR | {f"{Q}.lora_b": np.full((64, 4), 3e38, np.float32)}, {"scale": 1e8}, "are too large"),
    ],
)  # fmt: skip
def test_gguf_adapters_that_are_refused(
    tensors: dict[str, Floats], metadata: dict[str, Any], words: str, llama: Path, tmp_path: Path, said: Said
) -> None:
    scale = metadata.pop("scale", 1.0)
    adapter = write_gguf(tmp_path / "a.gguf", tensors, **metadata)
    code, out, err = said("run", llama / "f32.gguf", "x", "--raw", "--lora", f"{adapter}={scale}")
    metadata |= {"scale": scale} if scale != 1 else {}
    assert code == 5 and out == "" and words in err and err.count("\n") <= 2, err


def peft(llama: Path, path: Path, tensors: Mapping[str, Floats] | None = None, **changes: Any) -> Path:
    """A PEFT folder: that of the model, or of `tensors`, with changes of its settings."""
    write_peft(path, json.loads((llama / "folder" / "config.json").read_text()), **changes)
    if tensors is not None:
        named = {f"base_model.model.{name}": ("F32", x) for name, x in tensors.items()}
        (path / "adapter_model.safetensors").write_bytes(safetensors_bytes(named))
    return path


def pair(module: str, rank: int = 4, k: int = 64, rows: int = 64) -> dict[str, Floats]:
    return one(f"{module}.lora_A.weight", rank, k) | one(f"{module}.lora_B.weight", rows, rank)


ATTENTION = "model.layers.0.self_attn"


@pytest.mark.parametrize(
    ("tensors", "changes", "words"),
    [
        (None, {"use_dora": True}, "use_dora is not supported"),
        (None, {"alpha_pattern": {"(": 3}}, "alpha_pattern '(' is no expression"),
        (None, {"alpha_pattern": {r"(?:\w|[a-z]|\w\w|\.)*[=!]": 3}}, "is no expression that can be used"),
        (None, {"alpha_pattern": [3]}, "alpha_pattern must be an object"),
        ({}, {}, "changes no tensor"),
        (pair(f"{ATTENTION}.q_proj", rank=0), {}, "is not a pair of LoRA factors"),
        (pair(f"{ATTENTION}.q_proj") | one(f"{ATTENTION}.q_proj.bias", 64), {}, "instead of adding to it"),
        (pair(f"{ATTENTION}.q_proj") | one("lm_head.weight", 9, 64), {}, "replaces 'lm_head.weight' instead of adding"),
        (pair("model.layers.0.mlp.experts.1.up_proj"), {}, "a single expert of a mixture, which is not supported"),
        (pair("model.vision_tower.layers.0.q_proj"), {}, "no tensor of the text model"),
        (pair("model.layers.0.block_sparse_moe.gate"), {}, "has no tensor 'blk.0.ffn_gate_inp.weight'"),
        (pair("model.layers.0.other"), {}, "is unknown in architecture llama"),
        (pair("model.layers.7.self_attn.q_proj"), {}, "is unknown in architecture llama"),
        (pair(f"{ATTENTION}.q_proj", rows=32), {}, "factors of shape (32, 64) for a tensor of (64, 64)"),
        (pair(f"{ATTENTION}.q_proj", rows=30), {}, "cannot be divided into 4 heads"),
    ],
)
def test_peft_adapters_that_are_refused(
    tensors: dict[str, Floats] | None,
    changes: dict[str, Any],
    words: str,
    llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapters, "SECONDS", 0.02)
    path = peft(llama, tmp_path / "peft", tensors, **changes)
    with pytest.raises(BadFileError) as caught:
        logits(llama / "f32.gguf", [(path, 1.0)])
    assert words in str(caught.value) and caught.value.hint and "\n" not in str(caught.value)


def test_rules_that_do_more_than_move_rows_are_refused(llama: Path, tmp_path: Path) -> None:
    """What a GGUF file does not say is not guessed: Falcon's rows depend on a setting that it lacks."""
    path = peft(llama, tmp_path / "peft", pair("transformer.h.0.self_attention.query_key_value"))
    with open_gguf(llama / "f32.gguf") as gguf:
        tensors = [TensorInfo(t.name, t.format, t.shape) for t in gguf.tensors.values()]
        keys = {key.replace("llama.", "falcon."): value for key, value in gguf.metadata.raw().items()}
        keys |= {"general.architecture": "falcon"}
        with GGUFWriter(tmp_path / "falcon.gguf", keys, tensors) as out:
            for tensor in gguf.tensors.values():
                out.write(tensor.name, tensor.bytes_array())
    with pytest.raises(BadFileError, match="a GGUF file of falcon does not say multi_query") as caught:
        logits(tmp_path / "falcon.gguf", [(path, 1.0)])
    assert "llmlocal convert FOLDER OUT --lora ADAPTER" in caught.value.hint


def test_models_with_an_encoder_are_refused(tmp_path: Path) -> None:
    """Their encoder would read the embedding without the change."""
    write_encoder_decoder(next(iter(ANSWERING)), tmp_path)
    model = convert_model(tmp_path, tmp_path / "t5.gguf", "F32").path
    with open_gguf(model) as gguf:
        vocab, width = gguf.tensors["token_embd.weight"].shape
    name = "token_embd.weight.lora"
    tensors = {f"{name}_a": np.ones((vocab, 2), np.float32), f"{name}_b": np.ones((width, 2), np.float32)}
    adapter = write_gguf(tmp_path / "a.gguf", tensors, general__architecture="t5")
    with pytest.raises(UsageError, match="has an encoder, to which LoRA adapters are not added"):
        logits(model, [(adapter, 1.0)])


def test_weights_kept_beside_factors_of_an_embedding(llama: Path, tmp_path: Path) -> None:
    """PEFT keeps them: what they are added to. They are the model's own."""
    embedding = values(llama / "f32.gguf")["token_embd.weight"]
    vocab = len(embedding)
    name = "model.embed_tokens"
    both = {f"{name}.lora_embedding_A": drawn("A", (4, vocab)), f"{name}.lora_embedding_B": drawn("B", (64, 4))}
    alone = peft(llama, tmp_path / "alone", both)
    kept = peft(llama, tmp_path / "kept", both | {f"{name}.base_layer.weight": embedding})
    got = [logits(llama / "f32.gguf", [(path, 1.0)]) for path in (alone, kept)]
    assert np.array_equal(*got) and not np.array_equal(got[0], logits(llama / "f32.gguf"))


def run(*words: str | Path) -> int:
    return main(["run", *map(str, words), "--raw", "-n", "6", "--seed", "1", "--no-stdin", "-q"])


def test_records_hold_the_adapters(llama: Path, tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """From any folder they are replayed; another adapter under the same name is named as what has changed."""
    monkeypatch.chdir(tmp_path)
    adapter = write_peft(Path("peft"), json.loads((llama / "folder" / "config.json").read_text()))
    assert run(llama / "f32.gguf", "hello", "--lora", f"{adapter}=0.75", "--record", "r.json") == 0
    record = json.loads(Path("r.json").read_text())
    assert record["settings"]["lora"] == [{"path": str(tmp_path / "peft"), "scale": 0.75}]
    monkeypatch.chdir("/")
    said("--version")
    code, out, err = said("replay", tmp_path / "r.json")
    assert (code, out, err) == (0, "the same 6 tokens\n", "")
    shutil.rmtree(tmp_path / "peft")
    peft(llama, tmp_path / "peft", lora_alpha=800)
    code, out, err = said("replay", tmp_path / "r.json")
    assert "what LoRA adapters add is not what was recorded" in err


def test_a_chat_goes_on_with_its_adapters(llama: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    opened: list[Any] = []
    real = Session.open.__func__  # type: ignore[attr-defined]

    def noted(cls: type[Session], path: Path, **given: Any) -> Session:
        opened.append(given["lora"])
        return real(cls, path, **given)  # type: ignore[no-any-return]

    monkeypatch.setattr(Session, "open", classmethod(noted))
    asked = ["hi there", "--template", "chatml", "-n", "2", "--session", "adapted", "--prompt-cache", "off", "-q"]
    model, adapter = llama / "f32.gguf", (llama / "peft", 0.5)
    assert said("chat", model, *asked, "--lora", f"{llama / 'peft'}=0.5")[0] == 0
    assert store.load("adapted").settings["lora"] == [f"{llama / 'peft'}=0.5"]
    assert said("chat", *asked)[0] == 0  # the model and its adapters are those of the session
    assert said("chat", *asked, "--lora", llama / "adapter.gguf")[0] == 0
    assert said("chat", *asked)[0] == 0
    assert said("chat", model, *asked)[0] == 0  # a model that is named is used as it is named
    other = (llama / "adapter.gguf", 1.0)
    assert opened == [(adapter,), (adapter,), (other,), (other,), ()]


def test_results_of_a_batch_are_those_of_the_adapters(llama: Path, tmp_path: Path, said: Said) -> None:
    """Answers of other adapters are not gone on with."""
    (rows := tmp_path / "rows.jsonl").write_text('{"prompt": "hello"}\n')
    asked = ["batch", llama / "f32.gguf", rows, "-o", tmp_path / "out.jsonl", "--template", "chatml", "-n", "3", "-q"]
    assert said(*asked, "--lora", llama / "peft")[0] == 0
    assert said(*asked, "--lora", llama / "peft", "--resume")[0] == 0
    code, _, err = said(*asked, "--lora", f"{llama / 'peft'}=0.5", "--resume")
    assert code == 2 and "other options" in err


def test_the_python_api(llama: Path) -> None:
    ids = [5, 6, 7]
    wanted = logits(llama / "f32.gguf", [(llama / "peft", 0.5)])
    for lora in (f"{llama / 'peft'}", [llama / "peft"], [(llama / "peft", 0.5), (str(llama / "peft"), 0.5)]):
        with llmlocal.load(llama / "f32.gguf", ctx=48, threads=1, lora=lora) as model:
            got = model.logits(ids)
            with pytest.raises(UsageError, match="LoRA adapters are not supported"):
                model.embed("hello")
        with llmlocal.load(llama / "f32.gguf", ctx=48, threads=1, lora=[(llama / "adapter.gguf", 1)]) as model:
            np.testing.assert_allclose(got, model.logits(ids), rtol=0, atol=1e-4)
    assert wanted.shape[1] == got.shape[1]
    wrong: Any
    for wrong in (3, [3], [("a", "b")], [("a", float("nan"))], [("a", True)], [("a", 1.0, 2)]):
        with pytest.raises(UsageError, match="lora is"):
            llmlocal.load(llama / "f32.gguf", lora=wrong)


def test_show(llama: Path, said: Said) -> None:
    code, out, _ = said("show", llama / "adapter.gguf")
    assert code == 0 and "4 in 6 tensors" in out and "alpha       8" in out
    shown = json.loads(said("show", llama / "adapter.gguf", "--json")[1])
    assert (shown["type"], shown["kind"], shown["ranks"], shown["changes"]) == ("adapter", "lora", {"4": 6}, 6)
    assert said("show", llama / "adapter.gguf", "--tensors")[1].count("lora_a") == 6
    folder = json.loads(said("show", llama / "peft", "--json")[1])
    same = ("type", "kind", "ranks", "changes", "alpha", "parameters", "formats")
    assert {key: folder[key] for key in same} == {key: shown[key] for key in same}
    assert said("show", llama / "peft")[1].endswith(f"to use it   llmlocal run MODEL --lora {llama / 'peft'}\n")
    code, _, err = said("show", llama / "peft", "--tensors")
    assert code == 2 and "an adapter has no such parts" in err
    code, _, err = said("run", llama / "peft", "x")
    assert code == 5 and "is an adapter, not a model\nhint: llmlocal run MODEL --lora FOLDER" in err
    code, _, err = said("run", llama / "adapter.gguf", "x")
    assert code == 2 and "is an adapter, not a model" in err


def test_memory_counts_them(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that just fits does not with an adapter."""
    with Session.open(llama / "f32.gguf", n_ctx=16) as session:
        needed = memory(session.gguf.metadata, session.tensors, 16).total
    monkeypatch.setattr("llmlocal.engine_plan.free_memory", lambda: needed)
    with Session.open(llama / "f32.gguf", n_ctx=16, n_threads=1) as session:
        assert session.engine.length() == 0
    with Session.open(llama / "f32.gguf", n_ctx=16, lora=[(llama / "peft", 1.0)]) as session:
        config = json.loads((llama / "folder/config.json").read_text())
        floats = sum(a.size + b.size for a, b in factors(config).values())
        more = set(session.tensors) - set(session.gguf.tensors)
        assert sum(session.tensors[name].nbytes for name in more) == 4 * floats
        with pytest.raises(ResourceError):
            _ = session.engine


def test_an_engine_is_opened_again_after_an_error(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapters are not lost with the attempt that failed."""
    with Session.open(llama / "f32.gguf", n_ctx=48, n_threads=1, lora=[(llama / "peft", 1.0)]) as session:
        with monkeypatch.context() as patch, pytest.raises(LlmlocalError):
            patch.setattr("llmlocal.engine.Engine.load", lambda self: (_ for _ in ()).throw(ResourceError("no")))
            _ = session.engine
        assert session.engine.cache_format.endswith(session.lora_digest) and session.lora_digest


def test_a_server_answers_with_them(tiny: Path, tmp_path: Path) -> None:
    """And refuses vectors, which would be those of the model without."""
    with open_gguf(tiny) as gguf:
        width = gguf.tensors[Q].k
        rows = gguf.tensors[Q].rows
    tensors = {f"{Q}.lora_a": drawn("a", (2, width)), f"{Q}.lora_b": drawn("b", (rows, 2))}
    adapter = write_gguf(tmp_path / "a.gguf", tensors)
    with running({"tiny": tiny}, lora=((adapter, 2.0),)) as served:
        assert served.model.session.lora_digest
        assert served.ask("POST", "/v1/completions", {"prompt": "hello", "max_tokens": 2})[0] == 200
    with pytest.raises(UsageError, match="LoRA adapters are not supported"):
        VectorModel("tiny", tiny, Settings(lora=((adapter, 2.0),)), ranks=False)


def test_hostile_settings(llama: Path, tmp_path: Path) -> None:
    path = peft(llama, tmp_path / "peft")
    for content in ([], {"peft_type": "LORA", "lora_alpha": 1e300}, {"peft_type": "LORA", "lora_alpha": None}):
        write_json(path / "adapter_config.json", content)
        with pytest.raises(BadFileError):
            logits(llama / "f32.gguf", [(path, 1.0)])
