"""Decisions between options: their probabilities from logits, exit codes, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chatting import opened

import llmlocal
from llmlocal.chat_format.prompt import PromptRequest
from llmlocal.errors import PromptTooLongError
from llmlocal.generation.decision import decide, instruction
from llmlocal.generation.session import Session

Said = Callable[..., tuple[int, str, str]]
CHAT = "{% for m in messages %}[{{ m.content }}]{% endfor %}[answer:"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    """A model that would answer with a text; the sessions that were opened."""
    sessions: list[Any] = []

    def put(text: str, n_ctx: int = 4096) -> list[Any]:
        def session(*_: object, **__: object) -> Session:
            sessions.append(opened({"answers": [text], "template": CHAT, "n_ctx": n_ctx}))
            return sessions[-1]

        monkeypatch.setattr("llmlocal.generation.session.Session.open", session)
        return sessions

    return put


@pytest.mark.parametrize(("text", "code", "out"), [("Yes", 0, "yes\n"), ("yes.", 0, "yes\n"), ("No, it", 1, "no\n")])
def test_yes_or_no(said: Said, answers: Any, text: str, code: int, out: str) -> None:
    answers(text)
    assert said("ask", "m", "Is it?", "--yes-no", "--no-stdin") == (code, out, "")


def test_question_and_options_are_what_the_model_reads(said: Said, answers: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a file")
    sessions = answers("bug")
    code, out, _ = said("ask", "m", "What?", "--options", "feature, bug", "-f", tmp_path / "f", "--json", "--no-stdin")
    shown = json.loads(out)
    assert (code, shown["answer"], list(shown["probabilities"])) == (0, "bug", ["feature", "bug"])
    assert sum(shown["probabilities"].values()) == pytest.approx(1) and shown["probabilities"]["bug"] > 0.9
    read = sessions[0].tokenizer.decode(sessions[0].engine.tokens).replace("▁", " ")
    places = [read.index(text) for text in ("a file", "What?", instruction(["feature", "bug"]))]
    assert places == sorted(places)
    assert len(sessions[0].engine.tokens) == shown["prompt_tokens"]


def test_threshold(said: Said, answers: Any) -> None:
    answers("maybe")  # neither: both have half
    run = ("ask", "m", "Is it?", "--no-stdin")
    assert said(*run, "--yes-no", "--threshold", "0.9")[:2] == (1, "no\n")
    assert said(*run, "--yes-no", "--threshold", "0.1")[:2] == (0, "yes\n")
    assert said(*run, "--options", "x,z")[:2] == (0, "x\n")
    assert said(*run, "--options", "x,z", "--threshold", "0.6")[:2] == (1, "x\n")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["--yes-no", "--options", "a,b"], 2),
        (["--options", "a"], 2),
        (["--options", "a,,b"], 2),
        (["--options", "a, a"], 2),
        (["--options", ""], 2),
        (["--yes-no", "--threshold", "1.5"], 2),
        (["--yes-no", "-f", "none"], 3),
    ],
)
def test_mistakes(said: Said, answers: Any, arguments: list[str], code: int) -> None:
    answers("Yes")
    got, out, err = said("ask", "m", "Is it?", "--no-stdin", *arguments)
    assert (got, out) == (code, "") and err.startswith("error: ")


def test_a_question_must_fit(said: Said, answers: Any) -> None:
    answers("Yes", n_ctx=20)
    assert said("ask", "m", "Is it?", "--no-stdin", "--yes-no")[0] == PromptTooLongError.exit_code


def test_probabilities_are_those_of_the_models_logits(story: Path) -> None:
    options = {"dog": ("dog", "dogs"), "little girl": ("little girl",)}
    with Session.open(story, n_threads=2) as session:
        prompt = session.prompt(PromptRequest(b"Once upon a time there was a"))
        decision = decide(session, prompt, options)
        assert decide(session, prompt, options) == decision
        tokenizer = session.tokenizer
    scores = []
    with llmlocal.load(story, threads=2) as model:
        for ways in options.values():
            each = []
            for way in ways:
                ids = tokenizer.encode(f" {way}", add_special=False, continues=True)
                logits = model.logits([*prompt.ids, *ids]).astype(np.float64)[len(prompt.ids) - 1 : -1]
                logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
                each.append(np.mean([row[id] for row, id in zip(logs, ids, strict=True)]))
            scores.append(np.exp(each).sum())
    expected = np.array(scores) / sum(scores)
    assert np.allclose(list(decision.probabilities.values()), expected, rtol=1e-3)
