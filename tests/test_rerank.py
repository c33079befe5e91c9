"""`rerank` and `fill`: texts ranked by an encoder or by a judge, and masked words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fed_stdin import feed
from hf_folders import CASES as FOLDERS
from hf_folders import write_folder
from vector_models import ids

from llmlocal.embedding.rank_prompt import KEY, RankPrompt
from llmlocal.embedding.reranker import Reranker
from llmlocal.encoder import Encoder
from llmlocal.errors import PromptTooLongError
from llmlocal.gguf import open_gguf
from llmlocal.quantize.convert import convert_model
from llmlocal.tokenizer import load

Said = Callable[..., tuple[int, str, str]]


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


@pytest.mark.parametrize("words", [[], ["-"]])
def test_a_text_with_gaps_comes_from_stdin(
    said: Said, masked: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    want = said("fill", masked, "the [MASK]", "--json", "-q")
    feed(monkeypatch, b"the [MASK]\r\n")
    assert said("fill", masked, *words, "--json", "-q") == want
    feed(monkeypatch, b"the cat")  # not read beside an argument
    assert said("fill", masked, "the [MASK]", "--json", "-q") == want


def test_a_text_of_several_lines_is_one_line_of_the_result(said: Said, reranker: Path) -> None:
    code, out, _ = said("rerank", reranker, "a cat", "the\ndog\r\ncat")
    assert code == 0 and out.count("\n") == 1 and out.endswith("  the dog cat\n")


def test_what_fills_no_gaps(said: Said, bert: Path, story: Path) -> None:
    assert "masked words" in said("fill", bert, "[MASK]")[2]
    assert said("fill", story, "[MASK]")[0] == 2
