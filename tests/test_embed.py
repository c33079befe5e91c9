"""`embed`, `rerank` and `fill`, and `Model.embed`: texts in, in what order and form results come, what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_cases import golden, settings
from families import VOCAB, draw, write_weights
from hf_folders import CASES as FOLDERS
from hf_folders import write_folder
from numpy.typing import NDArray
from safetensors.numpy import save_file

import llmlocal
from llmlocal.convert.hf_source import open_hf
from llmlocal.embedding.embedder import Embedder
from llmlocal.embedding.rank_prompt import KEY, RankPrompt
from llmlocal.embedding.reranker import Reranker
from llmlocal.encoder import Encoder
from llmlocal.errors import BadFileError, PromptTooLongError, UsageError
from llmlocal.gguf import open_gguf
from llmlocal.quantize.convert import convert_model
from llmlocal.tokenizer import load

Said = Callable[..., tuple[int, str, str]]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "cat", "dog", "the", "sat", "##s", "on", "mat", "query", ":", ".", "in", "house", "red", "blue", "big"]
MODULES = [{"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling", "Normalize")]
PROMPTS = {"query": "query: ", "plain": ""}


def ids(*words: str) -> list[int]:
    return [(SPECIAL + WORDS).index(word) for word in words]


def write_wordpiece(folder: Path) -> None:
    """A tokenizer.json of BERT's kind with VOCAB tokens."""
    tokens = [*SPECIAL, *WORDS]
    tokens += [f"[unused{i}]" for i in range(VOCAB - len(tokens))]
    added = [{"id": i, "content": text, "special": True} for i, text in enumerate(SPECIAL)]
    ends = [{"SpecialToken": {"id": text, "type_id": 0}} for text in ("[CLS]", "[SEP]")]
    single = [ends[0], {"Sequence": {"id": "A", "type_id": 0}}, ends[1]]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}, ends[1]]
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    tokenizer = {
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None},
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": pair},
        "model": model | {"vocab": {token: i for i, token in enumerate(tokens)}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    names = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


def write_model(case: str, folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(settings(case)))
    write_weights(folder, case, golden(case)[0])
    write_wordpiece(folder)
    return folder


def write_sentence_files(folder: Path, *, pooling: dict[str, Any] | None = None, modules: Any = MODULES) -> None:
    """What sentence-transformers keeps beside a model."""
    paths = ["", "1_Pooling", "2_Normalize"]
    listed = [module | {"path": path} for module, path in zip(modules, paths, strict=False)]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    mode = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True} if pooling is None else pooling
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(mode))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20}))
    config = {"prompts": PROMPTS, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_model("bert", tmp_path_factory.mktemp("bert"))
    write_sentence_files(folder)
    return convert_model(folder, folder / "bert.gguf", "F32").path


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_model("bert-classifier", tmp_path_factory.mktemp("reranker"))
    (folder / "config.json").write_text(json.dumps(settings("bert-classifier") | {"id2label": {"0": "LABEL_0"}}))
    shapes = golden("bert-classifier")[0]
    one = {name: (1, *shape[1:]) if name.startswith("classifier") else shape for name, shape in shapes.items()}
    write_weights(folder, "bert-classifier", one)
    return convert_model(folder, folder / "reranker.gguf", "F32").path


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_model("bert-masked", tmp_path_factory.mktemp("masked"))
    return convert_model(folder, folder / "masked.gguf", "F32").path


@pytest.fixture(scope="module")
def states(bert: Path) -> Iterator[Callable[[list[int]], NDArray[np.float32]]]:
    """States of single tokens, from which the vectors of texts are made here."""
    with open_gguf(bert) as gguf:
        encoder = Encoder(gguf, "tokens", n_ctx=48, n_threads=1, rows=48)
        yield lambda text: encoder.run([text], rows=range(len(text)))
        encoder.close()


def unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def vectors(out: str) -> NDArray[np.float64]:
    return np.array([json.loads(line)["embedding"] for line in out.splitlines()])


TEXTS = ["A cat", "the dogs sat on the mat.", "zebra"]
TEXT_IDS = [
    ids("[CLS]", "a", "cat", "[SEP]"),
    ids("[CLS]", "the", "dog", "##s", "sat", "on", "the", "mat", ".", "[SEP]"),
    ids("[CLS]", "[UNK]", "[SEP]"),
]


# ---- vectors --------------------------------------------------------------------------------------------------------


def test_pooling_and_length(said: Said, bert: Path, states: Callable[[list[int]], NDArray[np.float32]]) -> None:
    rows = [states(text) for text in TEXT_IDS]
    for options, want in {
        (): unit(np.stack([row.mean(axis=0) for row in rows])),
        ("--pooling", "cls"): unit(np.stack([row[0] for row in rows])),
        ("--pooling", "last", "--no-normalize"): np.stack([row[-1] for row in rows]),
        ("--dimensions", "5"): unit(np.stack([row.mean(axis=0)[:5] for row in rows])),
    }.items():
        code, out, err = said("embed", bert, *TEXTS, *options, "-q")
        assert (code, err) == (0, "")
        np.testing.assert_allclose(vectors(out), want, rtol=1e-4, atol=1e-6)
    assert [json.loads(line)["tokens"] for line in out.splitlines()] == [4, 10, 3]


def test_every_form_holds_the_same_numbers(said: Said, bert: Path, tmp_path: Path) -> None:
    want = vectors(said("embed", bert, *TEXTS)[1]).astype("<f4")
    lines = said("embed", bert, *TEXTS, "--format", "csv")[1].splitlines()
    assert np.array_equal(np.array([line.split(",") for line in lines]).astype("<f4"), want)
    for layout in ("raw", "npy"):
        file = tmp_path / f"v.{layout}"
        assert said("embed", bert, *TEXTS, "--format", layout, "-o", file) == (0, "", "")
        got = np.load(file) if layout == "npy" else np.frombuffer(file.read_bytes(), "<f4").reshape(-1, 32)
        assert np.array_equal(got, want)
    code, _, err = said("embed", bert, "a", "--format", "npy")
    assert code == 2 and "-o" in err


def test_lines_paragraphs_and_pieces(said: Said, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(*texts: str) -> NDArray[np.float64]:
        return vectors(said("embed", bert, *texts)[1])

    file = tmp_path / "texts.txt"
    file.write_bytes(b"a cat\r\nthe dog\n\n\nred\nhouse")
    assert np.array_equal(vectors(said("embed", bert, "-f", file)[1]), of("a cat", "the dog", "", "", "red", "house"))
    got = vectors(said("embed", bert, "-f", file, "--split", "paragraph")[1])
    assert np.array_equal(got, of("a cat\nthe dog", "red\nhouse"))
    assert np.array_equal(vectors(said("embed", bert, "-f", file, "--split", "4")[1]), of("a cat the dog", "red house"))
    for arguments in (("-",), ()):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a cat\nthe dog\n")))
        assert np.array_equal(vectors(said("embed", bert, *arguments)[1]), of("a cat", "the dog"))
    assert said("embed", bert, "a", "--split", "words")[0] == 2 and said("embed", bert, "-f", tmp_path / "no")[0] == 3
    assert said("embed", bert, "--no-stdin")[0] == 2


def test_many_texts_in_their_order(bert: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["a", "cat", "dog", "red"], n)) for n in rng.integers(0, 18, 700)]
    with Embedder.open(bert, n_threads=2) as embedder:
        groups = list(embedder.embed(texts))
        assert len(groups) > 3 and sum(len(group.rows) for group in groups) == len(texts)
        together = np.concatenate([group.rows for group in groups])
        for i in range(0, 700, 97):
            (alone,) = embedder.embed([texts[i]])
            np.testing.assert_allclose(together[i], alone.rows[0], atol=1e-6)


def test_prompts(said: Said, bert: Path) -> None:
    want = vectors(said("embed", bert, "query: a cat")[1])
    assert np.array_equal(vectors(said("embed", bert, "a cat", "--prompt-name", "query")[1]), want)
    code, _, err = said("embed", bert, "a cat", "--prompt-name", "passage")
    assert code == 2 and "plain, query" in err


def test_a_text_that_is_too_long(said: Said, bert: Path) -> None:
    long = "cat " * 30
    code, out, err = said("embed", bert, "a", long)
    assert code == 7 and "text 2 is 32 tokens, 12 more than the 20" in err and "--truncate" in err
    code, out, err = said("embed", bert, "a", long, "--truncate")
    assert code == 0 and "1 texts were cut to 20 tokens" in err
    assert np.array_equal(vectors(out)[1], vectors(said("embed", bert, "cat " * 18)[1])[0])
    assert said("embed", bert, long, "--ctx", "40")[0] == 0
    assert said("embed", bert, "a", "--ctx", "49")[0] == 2


def test_python(bert: Path) -> None:
    with llmlocal.load(bert, threads=2) as model:
        got = model.embed(TEXTS)
        assert got.dtype == np.float32 and got.shape == (3, 32)
        np.testing.assert_allclose(model.embed(TEXTS[1])[0], got[1], atol=1e-6)
        assert model.embed([]).shape == (0, 32) and model.embed("a", dimensions=3).shape == (1, 3)
        with pytest.raises(UsageError, match="unknown prompt"):
            model.embed("a", prompt_name="x")
        with pytest.raises(PromptTooLongError):
            model.embed("cat " * 30)
        with pytest.raises(UsageError, match="encoder"):
            model.generate("a", raw=True)


def test_a_decoder_is_pooled_by_its_last_token(said: Said, story: Path) -> None:
    """Vectors of a causal model: those of a text do not depend on the texts beside it."""
    together = vectors(said("embed", story, "Once upon a time", "the cat")[1])
    assert together.shape == (2, 64)
    np.testing.assert_allclose(together[1], vectors(said("embed", story, "the cat")[1])[0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


# ---- scores and masked words ----------------------------------------------------------------------------------------


def test_texts_are_ranked(said: Said, reranker: Path) -> None:
    from llmlocal.embedding.heads import classifier

    texts = ["the dog", "a red house", "cat"]
    pairs = [ids("[CLS]", "a", "cat", "[SEP]", *text.split(), "[SEP]") for text in texts]
    types = [[0] * 4 + [1] * (len(pair) - 4) for pair in pairs]
    with open_gguf(reranker) as gguf:
        encoder = Encoder(gguf, "cls", 48, 1, classifier)
        want = encoder.run(pairs, types=types)[:, 0]
        assert np.abs(encoder.run(pairs)[:, 0] - want).max() > 1e-3  # the parts of a pair matter
        encoder.close()
    code, out, err = said("rerank", reranker, "a cat", *texts, "--json", "-q")
    assert (code, err) == (0, "")
    results = json.loads(out)["results"]
    assert [result["index"] for result in results] == np.argsort(-want).tolist()
    np.testing.assert_allclose([result["score"] for result in results], want[np.argsort(-want)], atol=1e-5)
    best = said("rerank", reranker, "a cat", *texts, "--top", "1")[1].splitlines()
    assert len(best) == 1 and best[0].endswith(texts[want.argmax()])


@pytest.mark.parametrize("command", ["embed", "rerank"])
def test_a_model_that_does_not_fit_into_memory(
    said: Said, reranker: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmlocal.model_info.memory_limit.free_memory", lambda: 1 << 10)
    words = [command, reranker, "a", "cat", *(["--pooling", "mean"] if command == "embed" else [])]
    code, out, err = said(*words)
    assert (code, out) == (6, "") and "of memory" in err
    assert said(*words, "-y")[0] == 0


def test_what_cannot_rank(said: Said, bert: Path, reranker: Path) -> None:
    code, _, err = said("rerank", bert, "a", "b")
    assert code == 2 and "no head that scores texts" in err
    code, _, err = said("embed", reranker, "a")
    assert code == 2 and "llmlocal rerank" in err
    assert said("embed", reranker, "a", "--pooling", "mean")[0] == 0
    code, _, err = said("rerank", reranker, "a", "cat " * 60)
    assert code == 7 and "--truncate" in err
    assert said("rerank", reranker, "a", "cat " * 60, "--truncate")[0] == 0
    assert said("rerank", reranker, "cat " * 60, "a")[0] == 7


# ---- models that judge ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3-Reranker."""
    folder = write_folder(tmp_path_factory.mktemp("judge") / "folder", FOLDERS["qwen3-reranker-tied"])
    return convert_model(folder, folder / "judge.gguf", "F32").path


def test_a_judge_gives_the_probability_of_yes(said: Said, judge: Path) -> None:
    """Query and text stand in the prompt, which is read as a whole."""
    from llmlocal.embedding.heads import classifier

    texts = ["it is", "that he was", "with his"]
    with open_gguf(judge) as gguf:
        prompt = gguf.metadata[KEY]
        assert prompt.endswith("<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
        encode, encoder = load(gguf.metadata).encode, Encoder(gguf, "last", 512, 1, classifier)
        pairs = [encode(prompt.format(query="what", document=text), add_special=False) for text in texts]
        logits = np.concatenate([encoder.run([pair]) for pair in pairs]).astype(np.float64)
        encoder.close()
    want = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    code, out, err = said("rerank", judge, "what", *texts, "--json", "-q")
    assert (code, err) == (0, "")
    results = json.loads(out)["results"]
    assert [result["index"] for result in results] == np.argsort(-want).tolist()
    np.testing.assert_allclose([result["score"] for result in results], np.sort(want)[::-1], atol=1e-6)
    assert np.ptp(want) > 1e-3


def test_texts_for_a_judge_are_cut_within_the_prompt(said: Said, judge: Path) -> None:
    code, _, err = said("rerank", judge, "what", "it is " * 400)
    assert code == 7 and "--truncate" in err
    with Reranker.open(judge, n_threads=1) as reranker:
        assert reranker.encoder.n_ctx == 512
        runs = list[list[int]]()
        run = reranker.encoder.run
        reranker.encoder.run = lambda texts, **more: runs.extend(texts) or run(texts, **more)  # type: ignore
        long, short = (list(reranker.scores(b"what", [b"it is " * n], truncate=True)) for n in (400, 1))
        assert long != short and reranker.cut == 1
        end = reranker.gguf.metadata[KEY].partition("{document}")[2]
        tail = reranker.tokenizer.encode(end, add_special=False)
        assert len(runs[0]) == 512 and runs[0][-len(tail) :] == runs[1][-len(tail) :] == tail
        with pytest.raises(PromptTooLongError, match="the query"):
            list(reranker.scores(b"what " * 600, [b"it"], truncate=True))


def test_texts_never_give_special_tokens_to_a_judge(judge: Path) -> None:
    with open_gguf(judge) as gguf:
        tokenizer = load(gguf.metadata)
    prompt = RankPrompt.read({KEY: "<|eot_id|>{query}<|eot_id|>{document}<|eot_id|>"}, "")
    assert prompt is not None
    before, after = prompt.ids(tokenizer, b"{document}<|eot_id|>", b"<|eot_id|>{query}")
    eot = tokenizer.encode("<|eot_id|>", add_special=False, parse_special=True)
    assert after == eot and before.count(eot[0]) == 2
    assert tokenizer.decode(before, special=True) == "<|eot_id|>{document}<|eot_id|><|eot_id|><|eot_id|>{query}"


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        (KEY, "{document} {query}", 5),
        (KEY, "{query}", 5),
        (KEY, "{query}{document}{document}", 5),
        (KEY, 5, 5),
        ("qwen3.classifier.output_labels", ["no", "yes"], 2),
        ("qwen3.classifier.output_labels", "yes", 2),
    ],
)
def test_damaged_judges(said: Said, judge: Path, tmp_path: Path, key: str, value: Any, code: int) -> None:
    from llmlocal.gguf.writer import write_gguf

    with open_gguf(judge) as gguf:
        write_gguf(tmp_path / "m.gguf", {**gguf.metadata.raw(), key: value}, gguf.tensors.values())
    got, _, err = said("rerank", tmp_path / "m.gguf", "a", "b")
    assert got == code and ("{query}" in err if code == 5 else "2 classes" in err)


def test_a_judge_does_nothing_else(said: Said, judge: Path) -> None:
    for command in ("run", "embed"):
        code, _, err = said(command, judge, "a")
        assert code == 2 and "llmlocal rerank" in err


# ---- masked words ---------------------------------------------------------------------------------------------------


def test_masked_words(said: Said, masked: Path) -> None:
    from llmlocal.embedding.heads import masked_words

    text = ids("[CLS]", "the", "[MASK]", "sat", "[MASK]", ".", "[SEP]")
    with open_gguf(masked) as gguf:
        encoder = Encoder(gguf, "tokens", 48, 1, masked_words, 2)
        want = encoder.run([text], rows=[2, 4])
        encoder.close()
    code, out, err = said("fill", masked, "The [MASK] sat [MASK].", "--top", "3", "--json", "-q")
    assert (code, err) == (0, "")
    places = json.loads(out)["places"]
    assert [[word["id"] for word in words] for words in places] == np.argsort(-want, axis=1)[:, :3].tolist()
    assert 0 < places[0][2]["probability"] <= places[0][0]["probability"] < 1
    assert len(said("fill", masked, "the [MASK]")[1].splitlines()) == 5
    assert said("fill", masked, "the cat")[0] == 2


def test_what_fills_no_gaps(said: Said, bert: Path, story: Path) -> None:
    assert "masked words" in said("fill", bert, "[MASK]")[2]
    assert said("fill", story, "[MASK]")[0] == 2


# ---- conversion -----------------------------------------------------------------------------------------------------


def test_sentence_transformers_files_are_carried_over(bert: Path) -> None:
    with open_gguf(bert) as gguf:
        m = gguf.metadata
        assert m["bert.pooling_type"] == 1 and m["sentence_transformers.normalize"] is True
        assert m["sentence_transformers.max_seq_length"] == 20 and m["bert.attention.causal"] is False
        assert list(m["sentence_transformers.prompt_names"]) == list(PROMPTS)
        assert list(m["sentence_transformers.prompts"]) == list(PROMPTS.values())
        tokens = list(m["tokenizer.ggml.tokens"])
        assert tokens[: len(SPECIAL) + 6] == [*SPECIAL, "▁a", "▁cat", "▁dog", "▁the", "▁sat", "s"]


@pytest.mark.parametrize("default", [[], {}, 5, "other"])
def test_a_default_prompt_that_is_no_name_is_left_out(default: Any, tmp_path: Path) -> None:
    write_sentence_files(write_model("bert", tmp_path))
    config = {"prompts": PROMPTS, "default_prompt_name": default}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(config))
    with open_hf(tmp_path) as source:
        assert "sentence_transformers.default_prompt_name" not in source.values


@pytest.mark.parametrize(
    ("pooling", "kind"),
    [
        ({"pooling_mode": "cls"}, 2),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, 3),
        ({"pooling_mode": "max"}, None),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, None),
        ({"pooling_mode": "mean", "include_prompt": False}, None),
        ({}, None),
    ],
)
def test_poolings(pooling: dict[str, Any], kind: int | None, tmp_path: Path) -> None:
    write_sentence_files(write_model("bert", tmp_path), pooling=pooling, modules=MODULES[:2])
    if kind is None:
        with pytest.raises(BadFileError, match="pooling"), open_hf(tmp_path):
            pytest.fail("the folder was accepted")
        return
    with open_hf(tmp_path) as source:
        assert source.values["bert.pooling_type"] == kind and not source.values["sentence_transformers.normalize"]


def test_matrices_after_pooling(tmp_path: Path) -> None:
    """EmbeddingGemma's two Dense modules: what they make of the mean states is the vector."""
    folder = write_model("gemma-embedding", tmp_path)
    first, second = draw("dense", "first", (48, 32)), draw("dense", "second", (24, 48))
    write_sentence_files(folder)
    names = {"2_Dense": first, "3_Dense": second}
    for name, matrix in names.items():
        (folder / name).mkdir()
        save_file({"linear.weight": matrix}, folder / name / "model.safetensors")
        (folder / name / "config.json").write_text(
            json.dumps({"bias": False, "activation_function": "torch.nn.Identity"})
        )
    dense = [{"type": "sentence_transformers.models.Dense", "path": name} for name in names]
    pooling = [MODULES[0] | {"path": ""}, MODULES[1] | {"path": "1_Pooling"}]
    (folder / "modules.json").write_text(json.dumps([*pooling, *dense]))
    path = convert_model(folder, folder / "m.gguf", "F32").path
    with open_gguf(path) as gguf, Embedder.open(path, n_threads=1) as embedder:
        assert gguf.metadata["gemma-embedding.dense_2_feat_out"] == 48 and embedder.width == 24
        encoder = Encoder(gguf, "mean", 48, 1)
        want = encoder.run([TEXT_IDS[0]]) @ first.T @ second.T
        encoder.close()
        (got,) = embedder.embed(["a cat"])
    np.testing.assert_allclose(got.rows, want, rtol=1e-4, atol=1e-5)
    (folder / "2_Dense" / "config.json").write_text(json.dumps({"bias": True}))
    with pytest.raises(BadFileError, match="bias"), open_hf(folder):
        pytest.fail("the folder was accepted")


@pytest.mark.parametrize("modules", [[*MODULES, {"type": "a.Dense"}], {"a": 1}, [{"type": 3}], "x"])
def test_modules_that_are_not_known(modules: Any, tmp_path: Path) -> None:
    write_sentence_files(write_model("bert", tmp_path))
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BadFileError, match="modules"), open_hf(tmp_path):
        pytest.fail("the folder was accepted")


def test_a_pooling_folder_outside_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_sentence_files(write_model("bert", folder))
    (tmp_path / "config.json").write_text('{"pooling_mode": "mean"}')
    (folder / "modules.json").write_text(json.dumps([MODULES[1] | {"path": ".."}]))
    with pytest.raises(BadFileError, match="outside"), open_hf(folder):
        pytest.fail("the folder was accepted")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bert.pooling_type", 9),
        ("bert.pooling_type", "mean"),
        ("sentence_transformers.normalize", 1),
        ("sentence_transformers.prompts", ["one"]),
        ("sentence_transformers.prompts", 5),
        ("sentence_transformers.max_seq_length", "long"),
        ("bert.attention.causal", True),
    ],
)
def test_damaged_settings_of_vectors(said: Said, bert: Path, tmp_path: Path, key: str, value: Any) -> None:
    from llmlocal.gguf.writer import write_gguf

    with open_gguf(bert) as gguf:
        write_gguf(tmp_path / "m.gguf", {**gguf.metadata.raw(), key: value}, gguf.tensors.values())
    code, _, err = said("embed", tmp_path / "m.gguf", "a")
    assert code == 5 and key.rpartition(".")[2] in err
