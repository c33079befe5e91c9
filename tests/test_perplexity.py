"""Perplexity: the method on made-up logits, and llama.cpp's figures for a trained model."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
from scripted import session, word

from llmlocal.errors import UsageError
from llmlocal.measure.perplexity import perplexity, score, scored, token_nlls

FORMATS = ("f32", *(pytest.param(name, marks=pytest.mark.slow) for name in ("f16", "Q8_0")), "Q4_0")


def test_surprise_of_known_probabilities() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], np.float32)) + 90
    assert token_nlls(logits, [0, 2]) == pytest.approx([log(2), log(10)], rel=1e-5)


def test_uniform_model_is_as_surprised_as_its_vocabulary_is_large() -> None:
    s, engine = session()
    *_, last = score(s, "d" * 62, 16)
    assert last.value == pytest.approx(engine.n_vocab)
    assert last.error == pytest.approx(0, abs=1e-5)
    assert (last.n_tokens, last.chunk, last.n_chunks) == (4 * 7, 4, 4)


def test_second_half_is_scored_and_every_chunk_starts_with_bos() -> None:
    s, engine = session([word("d")])
    results = list(score(s, "e" * 6 + "d" * 24, 16))
    assert [result.n_tokens for result in results] == [scored(16), 2 * scored(16)]
    assert results[-1].value == pytest.approx(1)  # all e's and the first d lie in a first half
    assert engine.tokens[0] == 1
    assert engine.length() == 15  # the last token of a chunk is only predicted


def test_error_is_that_of_the_mean() -> None:
    s, _ = session([word("d")])
    *_, last = score(s, "de" * 31, 16)
    n, p = last.n_tokens, log(last.value)
    wrong = -log(exp(-50) / (1 + exp(-50) * (s.engine.n_vocab - 1)))
    share = p / wrong
    assert last.error == pytest.approx(last.value * wrong * (share * (1 - share) / (n - 1)) ** 0.5, rel=1e-4)


def test_first_chunks_only() -> None:
    s, engine = session()
    *_, last = score(s, "d" * 62, 16, 2)
    assert (last.chunk, last.n_chunks, last.n_tokens) == (2, 2, 14)
    *_, last = score(s, "d" * 62, 16, 99)
    assert last.n_chunks == 4
    assert engine.length() == 15


def test_text_too_short() -> None:
    s, _ = session()
    with pytest.raises(UsageError, match="fewer than one chunk of 32"):
        next(score(s, "d", 32))


@pytest.mark.parametrize("name", FORMATS)
def test_trained_model(stories: Path, name: str) -> None:
    expected, file = json.loads((stories / "expected.json").read_text()), f"stories260K-{name}.gguf"
    text = (stories / expected["perplexity_text"]).read_bytes()
    *_, last = perplexity(stories / file, text, n_ctx=expected["perplexity_ctx"])
    assert last.value == pytest.approx(expected["files"][file]["perplexity"], rel=1e-3)
