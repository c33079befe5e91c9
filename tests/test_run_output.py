"""Where answers go: JSON, files, thoughts apart, loops of a shell."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from scripted import EOS, session, word

from llmlocal.chat_format.tag_splitter import Part
from llmlocal.cli.ui import terminal
from llmlocal.cli.ui.answer import AnswerScreen
from llmlocal.generation.events import Finished, Token

Said = Callable[..., tuple[int, str, str]]
END = Finished("stop", 3, 0, 2, 0.1, 0.2, 0.3, 7)
CHAT = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}[answer:"


def test_json(said: Said, scripted: Any) -> None:
    scripted(word("▁a"), 3 + 0xFF, word("d"))
    code, out, _ = said("run", "m", "d", "-n", "3", "--json", "--seed", "9", "--temp", "0", "--raw", "--no-stdin")
    got = json.loads(out)
    assert code == 0
    assert {key: got[key] for key in got if key != "timings"} == {
        "schema": 1,
        "model": "m",
        "text": " a\ufffdd",
        "prompt_tokens": 3,
        "cached_tokens": 0,
        "completion_tokens": 3,
        "finish_reason": "length",
        "seed": 9,
    }
    assert set(got["timings"]) == {
        "load_s",
        "prefill_s",
        "prefill_tokens_per_s",
        "decode_s",
        "decode_tokens_per_s",
    }


def test_output_file(said: Said, scripted: Any, tmp_path: Path) -> None:
    target = tmp_path / "out"
    run = ["run", "m", "d", "-n", "2", "--raw", "-q", "--no-stdin", "--temp", "0"]
    scripted(word("d"), 3 + 0xFF)
    assert said(*run, "-o", target) == (0, "", "")
    assert target.read_bytes() == b"d\xff"
    assert said(*run, "-o", target)[0] == 2
    assert said(*run, "-o", target, "--json", "--force") == (0, "", "")
    assert json.loads(target.read_text())["text"] == "d\ufffd"
    assert said(*run, "-o", "-")[1] == "d\ufffd"
    assert os.listdir(tmp_path) == ["out"]


def test_failed_answer_leaves_the_old_file(said: Said, scripted: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "out").write_text("old")
    engine = scripted(word("d"))
    monkeypatch.setattr(engine, "decode", lambda _: 1 / 0)
    assert said("run", "m", "d", "--raw", "--no-stdin", "-o", tmp_path / "out", "--force")[0] == 70
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_json_of_an_interrupted_answer(said: Said, scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = scripted(word("d"))
    append = engine.decode

    def interrupted(id: int) -> Any:
        if engine.length() > 4:
            raise KeyboardInterrupt
        return append(id)

    monkeypatch.setattr(engine, "decode", interrupted)
    code, out, err = said("run", "m", "d", "--raw", "--no-stdin", "--json", "--temp", "0")
    got = json.loads(out)
    assert (code, err, got["text"]) == (130, "", "ddd")
    assert (got["finish_reason"], got["completion_tokens"]) == ("interrupted", 3)


THINKS = b"<think>\nhm\xff</think>\n\na\xffb"


def test_thoughts_go_to_stderr_and_every_byte_of_the_answer_to_its_target(
    said: Said, scripted: Any, tmp_path: Path
) -> None:
    run = ["run", "m", "d", "--no-stdin", "--no-newline", "--temp", "0"]
    for more, err in (([], "thinking:\nhm\ufffd\n\n"), (["-q"], "")):
        scripted(*(3 + byte for byte in THINKS), EOS, template=CHAT, n_ctx=512)
        assert said(*run, *more) == (0, "a\ufffdb", err)
        assert said(*run, *more, "-o", tmp_path / "out", "--force") == (0, "", err)
        assert (tmp_path / "out").read_bytes() == b"a\xffb"
    got = json.loads(said(*run, "--json")[1])
    assert (got["text"], got["thinking"], got["completion_tokens"]) == ("a\ufffdb", "hm\ufffd", len(THINKS) + 1)
    scripted(*(3 + byte for byte in THINKS), EOS, template=CHAT, n_ctx=512)
    assert said(*run, "--think-budget", "2", "-n", "30")[2] == "thinking:\nh\n\n"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--raw"], "dd\n"), (["--raw", "-q"], "dd"), (["--no-newline"], "dd"), (["-q"], "dd\n"),
        (["--raw", "--stop", "d"], ""),
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_output_ends_with_a_line_feed(
    said: Said, scripted: Any, tmp_path: Path, options: list[str], text: str
) -> None:
    scripted(word("d"))
    run = ["run", "m", "d", "-n", "2", "--no-stdin", "--temp", "0", *options]
    assert said(*run)[:2] == (0, text)
    assert said(*run, "-o", tmp_path / "out")[:2] == (0, "")
    assert (tmp_path / "out").read_text() == text
    scripted(3 + ord("\n"))
    assert said("run", "m", "d", "-n", "2", "--no-stdin", "--temp", "0", "--raw")[1] == "\n\n"


def test_a_thought_within_an_answer_changes_no_byte() -> None:
    parts = (Part("answer", "a"), Part("thought", "b"), Part("answer", "c"))
    AnswerScreen(whole_lines=True).answer([Token(1, parts), END], out := BytesIO())
    assert out.getvalue() == b"ac\n"


@pytest.mark.parametrize(
    ("script", "options", "note"),
    [
        (b"", [], "the model answered nothing\n"),
        (b"", ["-q"], ""),
        (b"", ["--json"], "the model answered nothing\n"),
        (b"", ["-n", "0"], ""),
        (b"<think>\nhm</think>", ["--temp", "0"], "thinking:\nhm\n\nthe model answered nothing\n"),
        (b"<think>\nhmmmm", ["-n", "12"], "there is no answer: the model reached the token limit before it began one "),
    ],
)
def test_an_answer_of_nothing_is_said(said: Said, scripted: Any, script: bytes, options: list[str], note: str) -> None:
    scripted(*(3 + byte for byte in script), EOS, template=CHAT, n_ctx=512)
    code, out, err = said("run", "m", "d", "--no-stdin", *options)
    assert (code, out if "--json" not in options else "") == (0, "")
    assert note in err if note else not err


def test_the_lines_of_a_loop_are_left_to_it(said: Said, scripted: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """`while read q; do llmlocal run M "$q"; done < file`: the file is being read by the shell."""
    (tmp_path / "qs.txt").write_text("d\nd\nd\n")
    for at, tokens in ((0, "d\nd\nd\nd"), (2, "d")):
        engine = scripted(word("e"))
        with (tmp_path / "qs.txt").open() as file:
            os.lseek(file.fileno(), at, os.SEEK_SET)
            monkeypatch.setattr(sys, "stdin", file)
            assert said("run", "m", "d", "--raw", "-n", "1") == (0, "e\n", "")
            assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == (at or 6)
        assert session()[0].tokenizer.decode(engine.tokens) == f"{tokens}e"[: len(tokens)]


def test_what_is_read_of_stdin_is_said_on_a_terminal(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmlocal.cli import text_input

    said: list[str] = []
    monkeypatch.setattr(terminal, "tell_person", said.append)
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"abc\n")))
    monkeypatch.setattr(text_input, "_is_fed", lambda: True)
    assert text_input.prompt_source("d", quiet=False)(99) == b"d\nabc"
    assert said == ["3 bytes of stdin are part of the prompt (--no-stdin leaves them out)"]
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"")))
    assert text_input.prompt_source("d", quiet=False)(99) == b"d"
    assert len(said) == 1
