"""`embed` and `Model.embed`: texts in, in what order and form, and vectors out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from vector_models import TEXT_IDS, TEXTS, unit, vectors

import llmlocal
from llmlocal.embedding.embedder import Embedder
from llmlocal.encoder import Encoder
from llmlocal.errors import PromptTooLongError, UsageError
from llmlocal.gguf import open_gguf

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def states(bert: Path) -> Iterator[Callable[[list[int]], NDArray[np.float32]]]:
    """States of single tokens, from which the vectors of texts are made here."""
    with open_gguf(bert) as gguf:
        encoder = Encoder(gguf, "tokens", n_ctx=48, n_threads=1, rows=48)
        yield lambda text: encoder.run([text], rows=range(len(text)))
        encoder.close()


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
    monkeypatch.setattr("llmlocal.cli.texts.STRETCH", 4)
    monkeypatch.setattr("llmlocal.cli.texts.PIECE", 3)
    assert np.array_equal(vectors(said("embed", bert, "-f", file, "--split", "4")[1]), of("a cat the dog", "red house"))
    monkeypatch.setattr("llmlocal.cli.texts.MOST_LINE", 5)
    file.write_bytes(b"abcdefghi")
    code, _, error = said("embed", bert, "-f", file, "--split", "4")
    assert code == 5 and "without a space or a line" in error
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
    assert code == 0 and "1 text was cut to 20 tokens" in err
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


def test_a_chat_with_an_encoder_is_refused_for_what_it_is(said: Said, bert: Path) -> None:
    code, _, err = said("chat", bert, "hi")
    assert code == 2 and "is an encoder" in err and "use llmlocal embed" in err


def test_a_decoder_is_pooled_by_its_last_token(said: Said, story: Path) -> None:
    """Vectors of a causal model: those of a text do not depend on the texts beside it."""
    together = vectors(said("embed", story, "Once upon a time", "the cat")[1])
    assert together.shape == (2, 64)
    np.testing.assert_allclose(together[1], vectors(said("embed", story, "the cat")[1])[0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("command", [("run", "hello"), ("chat",), ("run", "hello", "--show-prompt")])
def test_an_encoder_is_named_before_anything_is_said_of_templates(
    command: tuple[str, ...], said: Said, bert: Path
) -> None:
    code, out, error = said(command[0], bert, *command[1:])
    assert (code, out) == (2, "") and "template" not in error
    assert "bert is an encoder" in error and "use llmlocal embed" in error
