"""Models whose encoder reads the prompt: tiny ones, converted and run, against what transformers computed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from encoder_cases import ANSWER, ANSWERING, TEXTS, golden, settings
from encoder_folders import models_of
from families import VOCAB, draw, write_weights
from families.converted import BOUND, EXACT, write_tokenizer
from families.refusals import opened
from hf_folders import message, sentencepieces, varint, write_json
from naive import nmse
from safetensors.numpy import save_file
from served import running

import llmlocal
from llmlocal.chat_format.prompt import plain
from llmlocal.convert.hf_source import open_hf
from llmlocal.embedding.embedder import Embedder
from llmlocal.encoder import Encoder
from llmlocal.engine import Engine
from llmlocal.errors import PromptTooLongError, UsageError
from llmlocal.generation.decision import decide
from llmlocal.generation.session import Session
from llmlocal.gguf import open_gguf
from llmlocal.layers.score_bias import distance_buckets
from llmlocal.model_info.memory import memory
from llmlocal.quant.tensor import QTensor
from llmlocal.quantize.convert import convert_model
from llmlocal.tokenizer import load

N_CTX = 72


model = models_of(ANSWERING)


Opened = Callable[..., Engine]


@pytest.fixture
def engine_of() -> Iterator[Opened]:
    engines: list[Engine] = []

    def opened(path: Path, **options: object) -> Engine:
        given = {"n_ctx": N_CTX, "n_threads": 2, "kv_type": EXACT, **options}
        engines.append(Engine.open(path, **given))  # type: ignore[arg-type]
        return engines[-1]

    yield opened
    for engine in engines:
        engine.close()


def test_logits_are_those_of_transformers(model: tuple[str, Path], engine_of: Opened) -> None:
    """One token of the answer at a time, and several at once; a text takes the place of the one before."""
    case, path = model
    engine, (_, want) = engine_of(path, max_outputs=len(ANSWER)), golden(case)
    with open_gguf(path) as gguf:
        assert memory(gguf.metadata, gguf.tensors, N_CTX, EXACT).cache == engine._cache.nbytes
    for text, rows in zip(TEXTS, want, strict=True):
        assert engine.reuse(text) == 0
        got = [engine.prefill(text), *(engine.decode(token) for token in ANSWER[:9])]
        got += [*engine.verify(ANSWER[9:])]
        assert nmse(np.array(got), rows) <= BOUND
        assert engine.history() == [*text, *ANSWER] and engine.length() == len(text) + len(ANSWER)


def test_sequences_in_one_batch(model: tuple[str, Path], engine_of: Opened) -> None:
    """Texts of other lengths beside each other, which begin at different times, mean the same as alone."""
    case, path = model
    engine, (_, want) = engine_of(path, n_seqs=3, ubatch=7), golden(case)
    first = engine.run([(0, TEXTS[0]), (2, TEXTS[2])], [0, 1])
    assert nmse(first, want[[0, 2], 0]) <= BOUND
    both = engine.run([(1, TEXTS[4]), (2, ANSWER[:4]), (0, ANSWER[:1])], [0, 1, 2])
    assert nmse(both, np.array([want[4, 0], want[2, 4], want[0, 1]])) <= BOUND
    engine.truncate(len(TEXTS[2]) + 2, 2)
    assert nmse(engine.decode(ANSWER[2], 2), want[2, 3]) <= BOUND
    with pytest.raises(UsageError, match="7 tokens at most"):
        engine.run([(1, ANSWER[:6]), (2, ANSWER[:2])], [0])


def test_threads_and_the_kind_of_cache(model: tuple[str, Path], engine_of: Opened) -> None:
    case, path = model
    want, seen = golden(case)[1][2, :3], set()
    for threads in (1, 2, 5):
        engine = engine_of(path, n_threads=threads, kv_type="f16")
        got = [engine.prefill(TEXTS[2]), *(engine.decode(token) for token in ANSWER[:2])]
        seen.add(np.array(got).tobytes())
        assert nmse(np.array(got), want) <= 1e-5
    assert len(seen) == 1


def test_a_text_is_cut_only_as_a_whole(model: tuple[str, Path], engine_of: Opened) -> None:
    engine, text = engine_of(model[1]), TEXTS[1]
    first = engine.prefill(text)
    engine.decode(5)
    assert list(engine.pieces(60, 8)) == [60]
    engine.truncate(len(text))
    assert engine.history() == text
    engine.truncate(3)
    assert engine.history() == text[:3]  # read again as a text of its own
    engine.truncate(0)
    assert engine.length() == 0 and np.array_equal(engine.prefill(text), first)
    with pytest.raises(UsageError, match="not predicted"):
        engine_of(model[1]).all_logits(text)
    with pytest.raises(PromptTooLongError):
        engine.prefill([5] * N_CTX)


def test_folders_are_converted_without_a_word(model: tuple[str, Path]) -> None:
    with open_hf(model[1].parent) as source:
        assert not source.notes


def test_the_embedding_may_have_any_of_its_names(model: tuple[str, Path], tmp_path: Path) -> None:
    """Published files keep it under one name or several."""
    case, path = model
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    shapes = golden(case)[0]
    embedding = shapes.pop("shared.weight")
    (tmp_path / "config.json").write_text(json.dumps(settings(case)))
    write_weights(tmp_path, case, shapes | dict.fromkeys(names, embedding))
    write_tokenizer(tmp_path)
    with open_hf(tmp_path) as source, open_gguf(path) as gguf:
        assert source.held.keys() == gguf.tensors.keys()


def test_what_is_wrong_with_a_file_is_said(model: tuple[str, Path]) -> None:
    with open_gguf(model[1]) as gguf:
        for key in gguf.metadata:
            assert not key.startswith("t5.") or opened(gguf, {key: "4"}), key
        assert "decoder_start_token_id" in opened(gguf, {"t5.decoder_start_token_id": 1 << 20})
        assert "decoder_start_token_id is missing" in opened(gguf, {"t5.decoder_start_token_id": None})
        for name, tensor in gguf.tensors.items():
            if name != "output.weight" and not name.endswith("1.attn_rel_b.weight"):
                assert f"'{name}' is missing" in opened(gguf, tensors={name: None})
            *rows, k = tensor.shape
            other = QTensor(name, tensor.format, (*rows, k + 1), memoryview(bytes(4 * (k + 1) * tensor.rows)))
            assert f"'{name}' is" in opened(gguf, tensors={name: other})


def test_buckets_of_distances_are_those_of_the_paper() -> None:
    """Where each begins, of 32: half of them one distance wide, the others growing up to 128."""
    begins = [*range(17), 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
    ahead = distance_buckets(-np.arange(300), 32, both_ways=False)
    assert [int(np.argmax(ahead == bucket)) for bucket in range(32)] == begins
    assert (distance_buckets(np.arange(1, 9), 32, both_ways=False) == 0).all()
    begins = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    before = distance_buckets(-np.arange(300), 32, both_ways=True)
    assert [int(np.argmax(before == bucket)) for bucket in range(16)] == begins
    assert np.array_equal(distance_buckets(np.arange(1, 300), 32, both_ways=True), before[1:] + 16)


# ---- texts ---------------------------------------------------------------------------------------------------------

Said = Callable[..., tuple[int, str, str]]
FIXED = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2)]


def write_unigram(folder: Path) -> None:
    """SentencePiece's Unigram vocabulary as T5's folders have it, and the tokens that stand for gaps behind it."""
    words = ["▁", "▁the", "▁cat", "▁sat", *"abcdefghijklmnopqrstuvwxyz", "."]
    pieces = [*FIXED, *((text, -float(i + 1), 1) for i, text in enumerate(words))]
    trainer, normalizer = b"\x18" + varint(1), b"\x18" + varint(True) + b"\x20" + varint(True)
    (folder / "spiece.model").write_bytes(sentencepieces(pieces) + message(2, trainer) + message(3, normalizer))
    gap = {"content": "<extra_id_0>", "special": True}
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    write_json(folder / "tokenizer_config.json", names | {"added_tokens_decoder": {str(VOCAB - 1): gap}})


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speaking")
    (folder / "config.json").write_text(json.dumps(settings("t5-flan")))
    write_weights(folder, "t5-flan", golden("t5-flan")[0])
    write_unigram(folder)
    return convert_model(folder, folder / "m.gguf", "F32").path


def test_the_vocabulary_is_that_of_sentencepiece(speaking: Path) -> None:
    with open_gguf(speaking) as gguf:
        tokenizer, meta = load(gguf.metadata), dict(gguf.metadata)
    assert meta["tokenizer.ggml.model"] == "t5" and meta["t5.decoder_start_token_id"] == 3
    assert meta["tokenizer.ggml.add_space_prefix"] is True and meta["tokenizer.ggml.remove_extra_whitespaces"] is True
    assert tokenizer.encode("the  cat ") == [4, 5, 1] and tokenizer.n_vocab == VOCAB
    assert tokenizer.token_text(VOCAB - 1) == "<extra_id_0>" and tokenizer.stop_ids == {1}


def greedy(path: Path, text: str, most: int) -> str:
    """The answer by logits alone."""
    engine = Engine.open(path, n_ctx=N_CTX, n_threads=2)
    tokenizer, ids = load(engine.gguf.metadata), list[int]()
    logits = engine.prefill(tokenizer.encode(text))
    while len(ids) < most and (token := int(logits.argmax())) not in tokenizer.stop_ids:
        ids.append(token)
        logits = engine.decode(token)
    engine.close()
    return tokenizer.decode(ids)


def test_run_answers_a_text(speaking: Path, said: Said) -> None:
    want = greedy(speaking, "the cat sat.", 12)
    code, out, err = said("run", speaking, "the cat sat.", "--temp", "0", "-n", "12", "--no-stdin")
    assert (code, out, err) == (0, want + "\n", "") and len(want) > 8 and want == want.lstrip()
    stopped = said("run", speaking, "the cat sat.", "--temp", "0", "-n", "12", "--no-stdin", "--stop", want[3:5])
    assert stopped[1] == want[: want.index(want[3:5])] + "\n"
    sampled = [said("run", speaking, "the cat", "-n", "9", "--seed", seed, "--no-stdin")[1] for seed in "778"]
    assert sampled[0] == sampled[1] != sampled[2]
    more = ["--raw", "--speculate", "ngram"]
    raw = said("run", speaking, "the cat sat.", "--temp", "0", "-n", "12", "--no-stdin", *more)
    assert raw[1] == want + "\n"


def test_a_pipe_is_read_with_the_prompt(speaking: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.write(write, b"the cat sat.")
    os.close(write)
    with open(read) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        code, out, _ = said("run", speaking, "-", "--temp", "0", "-n", "12")
    assert (code, out) == (0, greedy(speaking, "the cat sat.", 12) + "\n")


def test_python_and_batch_answer_as_run_does(speaking: Path, said: Said, tmp_path: Path) -> None:
    texts = ["the cat sat.", "a dog", "sat the cat on the mat", "the"]
    want = [greedy(speaking, text, 6) for text in texts]
    with llmlocal.load(speaking, ctx=N_CTX) as model:
        assert [model.generate(text, max_tokens=6, temperature=0).text for text in texts] == want
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    code, out, _ = said("batch", speaking, tmp_path / "rows.jsonl", "--temp", "0", "-n", "6", "--parallel", "3")
    assert code == 0 and [json.loads(line)["text"] for line in out.splitlines()] == want


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["chat", "--no-save"], "use llmlocal run, or llmlocal batch for many texts"),
        (["run", "x", "-s", "be brief", "--no-stdin"], "write it into the prompt"),
        (["quantize", "Q8_0", "--check"], "leave out --check"),
        (["perplexity", "TEXT", "--ctx", "16"], "llmlocal run answers with this one"),
    ],
)
def test_what_does_not_fit_says_what_to_use(
    words: list[str], hint: str, speaking: Path, said: Said, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("the cat sat. " * 20)
    folder = sorted(speaking.parent.iterdir())
    command, *rest = [str(tmp_path / "text") if word == "TEXT" else word for word in words]
    code, out, err = said(command, speaking, *rest)
    assert code == 2 and not out and hint in err and err.startswith("error: ")
    assert sorted(speaking.parent.iterdir()) == folder


def test_a_named_prompt_cache_is_not_written(speaking: Path, said: Said, tmp_path: Path) -> None:
    code, _, err = said("run", speaking, "the cat", "-n", "1", "--no-stdin", "--prompt-cache", tmp_path / "kept")
    assert code == 0 and "encoder reads prompts whole" in err and not (tmp_path / "kept").exists()


def test_the_encoder_alone_makes_vectors(speaking: Path, said: Said) -> None:
    """`embed` with the whole model reads its encoder: the mean of the states of all tokens, the end included."""
    code, out, _ = said("embed", speaking, "the cat", "--no-normalize", "--no-stdin")
    assert code == 0
    with open_gguf(speaking) as gguf:
        encoder = Encoder(gguf, "tokens", n_ctx=16, n_threads=1, rows=8)
        states = encoder.run([[4, 5, 1]], rows=range(3))
        encoder.close()
    got = json.loads(out)
    assert nmse(np.array(got["embedding"] if isinstance(got, dict) else got), states.mean(axis=0)) <= 1e-9


def test_a_server_completes_texts_but_does_not_chat(speaking: Path) -> None:
    want = greedy(speaking, "the cat", 5)
    with running({"t5": speaking}) as served:
        asked = {"model": "t5", "max_tokens": 5, "temperature": 0}
        status, answer = served.ask("POST", "/v1/completions", asked | {"prompt": ["the cat", "the cat"]})
        assert status == 200 and [choice["text"] for choice in answer["choices"]] == [want] * 2
        message = {"role": "user", "content": "the cat"}
        status, answer = served.ask("POST", "/v1/chat/completions", asked | {"messages": [message]})
        assert status == 400 and "ask for a completion" in answer["error"]["message"]


def test_options_are_answers_of_their_own(speaking: Path) -> None:
    """Each begins as an answer does, with the token of a word's beginning."""
    with Session.open(speaking, n_ctx=N_CTX, n_threads=2) as session:
        asked = plain("the cat", session.tokenizer, session.gguf.metadata)
        got = decide(session, asked, {"a": ["a"], "cat sat": ["cat sat"]}).probabilities
        scores, engine = [], session.engine
        for ids in ([3, 7], [5, 6]):
            engine.truncate(0)
            rows = np.array([engine.prefill(asked.ids), engine.decode(ids[0])], np.float64)
            scores.append(np.mean([row[id] - np.log(np.exp(row).sum()) for row, id in zip(rows, ids, strict=True)]))
    want = np.exp(scores - np.logaddexp(*scores))
    assert np.allclose([got["a"], got["cat sat"]], want, rtol=1e-5)


def test_sentence_t5_has_a_linear_layer_after_pooling(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings("t5encoder")))
    write_weights(tmp_path, "t5encoder", golden("t5encoder")[0])
    write_unigram(tmp_path)
    dense = draw("dense", "first", (24, 32))
    for name, config in (("1_Pooling", {"pooling_mode": "mean"}), ("2_Dense", {"bias": False})):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "config.json", config)
    save_file({"linear.weight": dense}, tmp_path / "2_Dense" / "model.safetensors")
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense", "Normalize": "3_Normalize"}
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds.items()]
    write_json(tmp_path / "modules.json", modules)
    path = convert_model(tmp_path, tmp_path / "m.gguf", "F32").path
    with open_gguf(path) as gguf, Embedder.open(path, n_threads=1) as embedder:
        encoder = Encoder(gguf, "mean", 48, 1)
        want = encoder.run([[4, 5, 1]])[0] @ dense.T
        encoder.close()
        (got,) = embedder.embed(["the cat"])
    np.testing.assert_allclose(got.rows[0], want / np.linalg.norm(want), rtol=1e-4, atol=1e-5)
