"""Forms of answers on the command line and in the Python API: what is refused, what is given out, exit codes."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatting import opened
from scripted import EOS, word

from llmlocal import IncompleteError, Model, UsageError
from llmlocal.chat_format.code_block import first_block

Said = Callable[..., tuple[int, str, str]]
CHAT = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}[answer:"
BASE = ("m", "hi", "--no-stdin", "-q")


@pytest.fixture
def never_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model was opened")

    monkeypatch.setattr("llmlocal.generation.session.Session.open", refuse)


@pytest.mark.parametrize("command", ["run", "chat"])
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--schema", '{"properties": {"a": {"not": {}}}}'], 2, "'not' at /properties/a"),
        (["--schema", "a foo"], 2, "unknown type 'foo'"),
        (["--schema", "none.json"], 3, "none.json: no such file"),
        (["--grammar", "none.gbnf"], 3, "none.gbnf: no such file"),
        (["--grammar", "/dev/zero"], 5, "/dev/zero: larger than 1 MiB"),
        (["--schema", "/dev/urandom"], 5, "/dev/urandom: larger than 1 MiB"),
        (["--regex", "[a"], 2, "unclosed character class"),
        (["--regex", "a", "--json-object"], 2, "--regex and --json-object cannot be combined"),
    ],
)
def test_a_wrong_form_is_refused_before_the_model_is_opened(
    said: Said, never_opened: None, command: str, arguments: list[str], code: int, told: str
) -> None:
    got, out, err = said(command, "m", "hi", *arguments)
    assert (got, out) == (code, "") and told in err


@pytest.mark.parametrize("arguments", [["--partial"]])
def test_options_without_effect_are_refused(said: Said, scripted: Any, arguments: list[str]) -> None:
    scripted(EOS)
    assert said("run", *BASE, *arguments)[0] == 2


def test_whole_answers_only(said: Said, scripted: Any, tmp_path: Path) -> None:
    path = tmp_path / "out"
    scripted(word("d"), word("e"), EOS, template=CHAT)
    assert said("run", *BASE, "--regex", "[de]{2}") == (0, "de\n", "")
    scripted(word("d"), template=CHAT)
    code, out, err = said("run", *BASE, "--regex", "d{9}e", "-n", "3")
    assert (code, out) == (8, "") and "the token limit was reached" in err
    scripted(word("d"), template=CHAT)
    assert said("run", *BASE, "--regex", "d{9}e", "-n", "3", "--partial")[:2] == (8, "ddd\n")
    scripted(word("d"), template=CHAT)
    assert said("run", *BASE, "--regex", "d{9}e", "-n", "3", "-o", path)[0] == 8 and not path.exists()
    scripted(word("d"), template=CHAT)
    assert said("run", *BASE, "--regex", "d{9}e", "-n", "3", "-o", path, "--partial")[0] == 8
    assert path.read_text() == "ddd\n"


def test_json_has_the_value(said: Said, scripted: Any) -> None:
    scripted(word("d"), EOS, template=CHAT)
    code, out, _ = said("run", *BASE, "--schema", '{"const": {"a": [1, "d"]}}', "--json")
    shown = json.loads(out)
    assert code == 0 and shown["parsed"] == {"a": [1, "d"]} == json.loads(shown["text"])
    scripted(word("d"), template=CHAT)
    code, out, _ = said("run", *BASE, "--schema", '{"const": "dd"}', "--json", "-n", "2")
    assert code == 8 and json.loads(out)["error"]["exit_code"] == 8
    scripted(word("d"), template=CHAT)
    code, out, _ = said("run", *BASE, "--schema", '{"const": "dd"}', "--json", "-n", "2", "--partial")
    assert code == 8 and json.loads(out)["finish_reason"] == "length" and "parsed" not in json.loads(out)


def test_a_chat_has_the_form_in_every_turn(said: Said, scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(word("d"), word("e"), EOS, template=CHAT, n_ctx=256)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    code, out, _ = said("chat", "m", "--regex", "e|de", "--no-save")
    assert (code, out) == (0, "de\nde\n")
    scripted(word("d"), template=CHAT, n_ctx=256)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    assert said("chat", "m", "--regex", "d{5}e", "--no-save", "-n", "2")[0] == 8


@pytest.mark.parametrize(
    ("text", "language", "block"),
    [
        ("a\n```python\nx = 1\n```\nb\n```\ny\n```", "", "x = 1\n"),
        ("```\na\n```\n```SQL\nselect 1;\n```", "sql", "select 1;\n"),
        ("  ~~~~ js {1}\n```\nz\n~~~\n~~~~~\n", "js", "```\nz\n~~~\n"),
        ("```\n```", "", ""),
    ],
)
def test_code_blocks(text: str, language: str, block: str) -> None:
    assert first_block(text, language) == block


@pytest.mark.parametrize(
    ("text", "language"), [("no block", ""), ("```py\nx\n```", "sql"), ("```py\nx", ""), ("`x`", "")]
)
def test_no_code_block(text: str, language: str) -> None:
    with pytest.raises(IncompleteError):
        first_block(text, language)


def test_only_the_block_is_printed(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"answers": ["Here:\n```sh\nls -l\n```\nThat is it."], "template": CHAT}
    monkeypatch.setattr("llmlocal.generation.session.Session.open", lambda *_, **__: opened(answers))
    assert said("run", *BASE, "-x") == (0, "ls -l\n", "")
    code, out, err = said("run", *BASE, "--extract-lang", "sql")
    assert (code, out) == (8, "") and "no code block in sql" in err


def test_python_api() -> None:
    def model(answer: str) -> Model:
        return Model(opened({"answers": [answer], "n_ctx": 512, "template": CHAT}))

    with model('{"name": "x", "age": 3}') as m:
        answer = m.generate("hi", schema="name, age int")
        assert set(answer.parsed) == {"name", "age"} and answer.parsed == json.loads(answer.text)
        assert m.generate("hi", schema={"type": "null"}).parsed is None
        assert m.generate("hi", grammar='root ::= "{" .').text == '{"'
        with pytest.raises(IncompleteError):
            m.generate("hi", regex="[{]a{99}", max_tokens=3)
        with pytest.raises(IncompleteError):
            list(m.generate("hi", regex="[{]a{99}", max_tokens=3, stream=True))
        with pytest.raises(UsageError, match="exclude each other"):
            m.generate("hi", regex="a", schema="a")
        with pytest.raises(UsageError, match="'not' at /"):
            m.generate("hi", schema={"not": {}})
        with pytest.raises(UsageError, match="schema is 3"):
            m.generate("hi", schema=3)  # type: ignore[call-overload]
        with pytest.raises(UsageError, match="not allowed here"):
            m.generate("hi", regex="a|b", sampler=lambda ids, logits: 0)
        chat = m.chat(regex="a|b")
        assert chat.send("hi").text in ("a", "b") and chat.send("hi", regex="c").text == "c"
