"""`run` and `chat` without a MODEL: what is a model and what a question, and who is told of the guide."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmlocal import guide
from llmlocal.cli import open_model as opening
from llmlocal.cli.main import main
from llmlocal.cli.model_argument import ModelName, Question, model_or_question


@pytest.mark.parametrize(
    "text", ["qwen3-4b", "qwen3-4b:Q8_0", "hf:org/repo", "folder/model.gguf", "hello", "help?", ""]
)
def test_without_a_space_it_is_a_model(text: str) -> None:
    assert type(model_or_question(text)) is ModelName


@pytest.mark.parametrize(
    "text", ["how do I quantize a model?", "two\nlines", "a\tb", "see https://x//y and ./z/", "x " * 9999]
)
def test_with_a_space_it_is_a_question_letter_by_letter(text: str) -> None:
    found = model_or_question(text)
    assert type(found) is Question
    assert opening.named_or_guide(found, None, quiet=True) == (guide.path(), text)


def test_a_file_with_a_space_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "my model.gguf"
    path.touch()
    assert type(model_or_question(str(path))) is ModelName


def test_what_is_meant() -> None:
    path = Path("m.gguf")
    assert opening.named_or_guide(path, None, quiet=True) == (path, None)
    assert opening.named_or_guide(path, "a b", quiet=True) == (path, "a b")
    assert opening.named_or_guide(None, None, quiet=True) == (guide.path(), None)
    assert opening.named_or_guide(Question("no such"), "a b", quiet=True) == (Path("no such"), "a b")


def test_run_answers_without_a_model(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["run", "how do I quantize a model?", "--no-stdin"]) == 0
    out, err = capfdbinary.readouterr()
    assert b"`llmlocal quantize model.gguf Q4_K_M`" in out
    assert opening.GUIDE_NOTE.encode() not in err  # no terminal


def test_a_terminal_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    opening.guide()
    opening.guide(quiet=True)
    assert capsys.readouterr().err.split() == opening.GUIDE_NOTE.split()


def test_a_name_alone_is_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "no-such-model", "--no-stdin"]) in (2, 3)
    assert main(["run", "no such file.gguf", "Hello", "--no-stdin"]) == 3
