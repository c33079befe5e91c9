"""`run` with templates, files and targets; and what terminals, pipes and JSON readers get of an answer."""

from __future__ import annotations

import json
import os
import re
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from io import BytesIO, TextIOWrapper
from pathlib import Path
from time import sleep
from typing import Any

import forked
import pytest
from scripted import EOS, session, word
from terminals import PROGRAM, Screen, on_terminal

from llmlocal.chat_format.tag_splitter import Part
from llmlocal.cli.ui import terminal
from llmlocal.cli.ui.answer import AnswerScreen
from llmlocal.generation.events import Event, Finished, PromptProgress, Token

Said = Callable[..., tuple[int, str, str]]
CHAT = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}[answer:"
END = Finished("stop", 3, 0, 2, 0.1, 0.2, 0.3, 7)
# Cursor, screen, colour, title, clipboard, hyperlink, device and mode sequences; C0, C1 and Unicode's own controls.
# fmt: off
ENDS = (*"ABCDHJKLMPSTXmnsu", "2J", "3J", "1;1H", "31m", "6n", "?25l", "?1049h", "?2004h", "5i", "!p")
ESCAPES = [
    *(f"\x1b[{end}" for end in ENDS),
    "\x1b]0;title\x07", "\x1b]52;c;aGk=\x07", "\x1b]8;;x:y\x1b\\", "\x1b]4;1;?\x07", "\x1b]1337;File=:x\x07",
    "\x1bP+q544e\x1b\\", "\x1b_x\x1b\\", "\x1b^x\x1b\\", "\x1bX\x1b\\", "\x1bc", "\x1b7", "\x1b8", "\x1b(0",
    "\x1b#8", "\x1bM", "\x1bD", "\x1bE", "\x1b%G", "\x1b\x1b[2J", "\r", "\b", "\x07", "\x0b", "\x0c", "\x0e", "\x7f",
    "\x00", "\x9b2J", "\x9d0;t\x9c", "\x90q\x9c", "\x85", "\u202e", "\u2066x\u2069", "\u202ax\u202c",
]
# fmt: on


def test_there_are_sixty_escape_sequences() -> None:
    assert len(set(ESCAPES)) >= 60


OPTIONS = {
    "run": "--kv-type --file --system --raw --template --show-prompt --json --output --force --no-stdin",
    "show": "--kv --tensors --template --ctx --kv-type --json",
    "tokenize": "--ids --pieces --count --no-special --decode --no-stdin",
    "perplexity": "--ctx --chunks --threads --kv-type --json",
    "bench": "--prompt --gen --depth --threads --kv-type --repeats",
}


@pytest.mark.parametrize("command", OPTIONS)
def test_options_are_in_the_help(said: Said, command: str) -> None:
    shown = set(said(command, "--help")[1].replace(",", " ").split())
    assert set(OPTIONS[command].split()) <= shown


def test_a_cache_that_the_model_cannot_have_is_refused(said: Said, story: Path) -> None:
    code, out, err = said("run", story, "a", "--kv-type", "q8_0", "--no-stdin")
    assert (code, out) == (2, "") and "a multiple of 32" in err and "--kv-type f16" in err


# ---- prompts ------------------------------------------------------------------------------------------------------


def test_template_of_the_file_is_used_without_a_word(said: Said, scripted: Any) -> None:
    engine = scripted(word("▁a"), EOS, template=CHAT)
    assert said("run", "m", "hi", "-s", "Be.", "--no-stdin") == (0, "a\n", "")
    s, _ = session()
    assert engine.tokens[:-1] == s.tokenizer.encode("[system: Be.][user: hi][answer:")[: len(engine.tokens) - 1]


@pytest.mark.parametrize("content", ["</s>", "<s>", "a</s>b<unk>"])
def test_text_of_user_and_files_is_never_special(said: Said, scripted: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "f.txt").write_text(content)
    for more in (["--raw"], [], ["--template", "chatml"]):
        engine = scripted(word("d"), n_ctx=512)
        assert said("run", "m", content, "-f", tmp_path / "f.txt", "-n", "0", "--no-stdin", *more)[0] == 0
        assert not {0, 1, 2} & set(engine.tokens[1:])


def test_files_are_wrapped_with_their_names(said: Said, scripted: Any, tmp_path: Path) -> None:
    one, two = tmp_path / 'o"n\ne.txt', tmp_path / "two.txt"
    one.write_bytes(b"1\xff\n")
    two.write_bytes(b"2\n\n")
    engine = scripted(EOS, template=CHAT, n_ctx=1024)
    assert said("run", "m", "sum", "-f", one, "-f", two, "--no-stdin")[0] == 0
    shown = f"{tmp_path}/o'n\\ne.txt"
    files = f'<file name="{shown}">\n1\udcff\n</file>\n\n<file name="{two}">\n2\n\n</file>'
    assert session()[0].tokenizer.decode_bytes(engine.tokens).decode("utf-8", "surrogateescape") == (
        f"[user: {files}\n\nsum][answer:"
    )
    engine = scripted(EOS, n_ctx=1024)
    assert said("run", "m", "sum", "-f", two, "--raw", "--no-stdin")[0] == 0
    assert session()[0].tokenizer.decode(engine.tokens) == "2\n\n\nsum"


def test_file_alone_is_a_prompt(said: Said, scripted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("d")
    scripted(EOS, template=CHAT, n_ctx=512)
    monkeypatch.setattr(sys, "stdin", None)
    assert said("run", "m", "-f", tmp_path / "f", "-q") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "code", "start"),
    [
        (["-s", "Be.", "--raw"], 2, "error: --raw cannot be combined with a system prompt or a template"),
        (["--template", "chatml", "--raw"], 2, "error: --raw cannot be combined"),
        (["-s", "Be."], 2, "error: a system prompt needs a chat template, and the model has none"),
        (["--template", "no such"], 3, "error: "),
        (["-f", "no such file"], 3, "error: no such file: no such file"),
        (["-f", "/"], 5, "error: /: cannot be read: Is a directory"),
        (["-o", "."], 2, "error: . exists"),
        (["-o", "no folder/x"], 3, "error: no folder/x: no such folder"),
    ],
)
def test_mistakes(said: Said, scripted: Any, arguments: list[str], code: int, start: str) -> None:
    scripted(EOS)
    got, out, err = said("run", "m", "d", "--no-stdin", "-q", *arguments)
    assert (got, out) == (code, "")
    assert err.startswith(start)


def test_empty_prompt_for_a_chat(said: Said, scripted: Any) -> None:
    scripted(EOS, template=CHAT)
    assert said("run", "m", "", "--no-stdin")[2].startswith("error: the prompt is empty")


def test_base_model_says_once_that_it_continues(said: Said, scripted: Any) -> None:
    scripted(word("d"))
    assert said("run", "m", "d", "-n", "1", "--no-stdin")[2].count("no chat template") == 1
    for quiet in ("-q", "--raw"):
        scripted(word("d"))
        assert said("run", "m", "d", "-n", "1", "--no-stdin", quiet)[2] == ""


def test_system_text_that_a_template_leaves_out_is_kept_and_noted(said: Said, scripted: Any) -> None:
    engine = scripted(
        EOS, template="{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% endif %}{% endfor %}"
    )
    code, _, err = said("run", "m", "d", "-s", "bee", "--no-stdin")
    assert (code, err.count("\n")) == (0, 2)  # the other: that there was no answer
    assert session()[0].tokenizer.decode(engine.tokens) == "[bee\n\nd]"


def test_show_prompt(said: Said, scripted: Any) -> None:
    engine = scripted(EOS, template=CHAT)
    s, _ = session()
    ids = s.tokenizer.encode("[user: d][answer:")
    code, out, err = said("run", "m", "d", "--show-prompt", "--no-stdin")
    assert (code, out, err) == (0, f"[user: d][answer:\n\n{len(ids)} tokens: {' '.join(map(str, ids))}\n", "")
    assert not engine.calls
    shown = json.loads(said("run", "m", "d", "--show-prompt", "--json", "--no-stdin")[1])
    assert shown == {
        "schema": 1,
        "model": "m",
        "text": "[user: d][answer:",
        "prompt_tokens": len(ids),
        "ids": ids,
    }


def test_prompt_too_long_is_said_before_any_kernel(story: Path) -> None:
    out = forked.run([*PROGRAM, "run", story, "x " * 3000, "--raw", "--no-stdin"], text=True)
    assert (out.returncode, out.stdout) == (7, "")
    line, hint = out.stderr.splitlines()
    assert line.startswith("error: the prompt is ")
    assert line.endswith(" more than the context of 512")
    assert "MiB of memory, but the model was trained on 512" in hint


# ---- answers ------------------------------------------------------------------------------------------------------


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


# ---- what others read of stdin ------------------------------------------------------------------------------------


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


# ---- terminals ----------------------------------------------------------------------------------------------------


def splits(data: bytes) -> list[list[bytes]]:
    """`data` in two pieces, at every place, and byte by byte."""
    return [[data[:i], data[i:]] for i in range(len(data) + 1)] + [[data[i : i + 1] for i in range(len(data))]]


def stream(parts: list[bytes]) -> None:
    """Draw an answer whose tokens complete these bytes."""
    utf8 = getincrementaldecoder("utf-8")("surrogateescape")
    texts = [*map(utf8.decode, parts), utf8.decode(b"", True)]
    AnswerScreen().answer([*(Token(0, (Part("answer", text),) if text else ()) for text in texts), END])


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([b"a\tb\n"], "a\tb\n"),
        ([b"\x1b", b"[2J\r\x7f"], "\\x1b[2J\\r\\x7f\n"),
        ([b"\xc2", b"\x9bx"], "\\x9bx\n"),
        (["\u202e".encode()[:2], "\u202e".encode()[2:], "\u2066é".encode()], "\\u202e\\u2066é\n"),
        ([b"\x9b", b"\xc3"], "\ufffd\ufffd\n"),
        ([], ""),
    ],
)
def test_terminal_shows_control_characters(monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], shown: str) -> None:
    screen = Screen()
    for out in (screen.slave, pipe := TextIOWrapper(BytesIO(), "utf-8")):
        monkeypatch.setattr(sys, "stdout", out)
        stream(pieces)
    assert screen.close().decode() == shown
    assert pipe.buffer.getvalue() == b"".join(pieces)


def test_no_escape_reaches_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen.slave)
    for sequence in ESCAPES:
        for parts in splits(f"é{sequence}z".encode()):
            stream(parts)
    text = screen.close().decode()
    assert not terminal.CONTROLS.search(text)
    assert text.count("é") == text.count("\n") == sum(len(f"é{s}z".encode()) + 2 for s in ESCAPES)


def test_pipe_gets_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    for sequence in [*(s.encode() for s in ESCAPES), b"\x9b\xff\xc3", "日本".encode()[:4]]:
        for parts in splits(sequence):
            monkeypatch.setattr(sys, "stdout", pipe := TextIOWrapper(BytesIO(), "utf-8"))
            stream(parts)
            assert pipe.buffer.getvalue() == sequence


def test_progress_of_a_long_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen.slave)
    monkeypatch.setenv("TERM", "xterm")
    out = BytesIO()

    def events() -> Iterator[Event]:
        for done in (20, 50):
            yield PromptProgress(done, 100)
            while f" {done} % of 100 tokens".encode() not in b"".join(screen._got):
                sleep(0.01)
        yield Token(1, (Part("answer", "a"),))
        yield END

    assert AnswerScreen().answer(events(), out) == END
    assert out.getvalue() == b"a"
    lines = screen.close().decode().split("\r")
    assert lines[-1] == "\x1b[K"
    reading = re.compile(r"\S reading the prompt(, \d\d % of 100 tokens,)?( \d+ s)?\x1b\[K")
    assert all(map(reading.fullmatch, lines[1:-1]))


def test_a_terminal_without_a_cursor_gets_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen.slave)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("llmlocal.cli.ui.spinner.PATIENCE", 0.0)

    def events() -> Iterator[Event]:
        yield PromptProgress(20, 100)
        while b"(reading" not in b"".join(screen._got):
            sleep(0.01)
        yield END

    AnswerScreen().answer(events(), BytesIO())
    assert re.fullmatch(r"\(reading the prompt.*\)\nthe model answered nothing\n", screen.close().decode())


@pytest.mark.parametrize("columns", [40, 80])
def test_run_on_a_terminal(story: Path, columns: int) -> None:
    run = ["run", story, "Once upon a time", "--raw", "-n", "20", "--temp", "0"]
    code, text = on_terminal(*run, columns=columns)
    assert code == 0
    *progress, answer = text.replace("\r\x1b[K", "\r").split("\r")
    assert answer.startswith(", there was a little girl")
    assert answer.endswith("\n")
    assert "\x1b" not in answer
    assert all(len(line.removesuffix("\x1b[K")) < columns for line in progress)


def test_width_is_that_of_the_stream_that_is_drawn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    screen = Screen(40)
    assert (terminal.columns(screen.slave), terminal.columns(TextIOWrapper(BytesIO()))) == (40, 80)
    monkeypatch.setenv("COLUMNS", "100")
    assert terminal.columns(screen.slave) == 100
    screen.close()


def test_no_colour(story: Path) -> None:
    assert "\x1b[31merror:\x1b[0m" in on_terminal("run", "no such file", "x")[1]
    # Without colours a line that moves is still drawn over.
    assert not re.search(r"\x1b\[[\d;]*m", on_terminal("run", "no such file", "x", NO_COLOR="1")[1])
    assert "\x1b" not in on_terminal("run", "no such file", "x", TERM="dumb")[1]
    assert "\x1b" not in on_terminal("run", story, "x", "-n", "2", TERM="dumb")[1]


def test_log_probabilities_are_in_json(said: Any, scripted: Any) -> None:
    scripted(word("d"), word("e"), EOS)
    code, out, _ = said("run", "m", "hi", "--no-stdin", "--json", "--logprobs", "2", "--temp", "0")
    found = json.loads(out)["logprobs"]
    assert code == 0 and [entry["id"] for entry in found] == [word("d"), word("e"), EOS]
    assert all(len(entry["best"]) == 2 and entry["best"][0]["logprob"] == entry["logprob"] > -1e-9 for entry in found)
    code, _, err = said("run", "m", "hi", "--no-stdin", "--logprobs", "2")
    assert code == 2 and "--json" in err


def test_variables_of_the_template(said: Any, scripted: Any) -> None:
    template = "{{ messages[0].content }} {{ style }}{% if deep %} deep{% endif %}"
    words = ("run", "m", "hi", "--no-stdin", "-q", "--show-prompt")
    scripted(EOS, template=template)
    assert said(*words, "--template-arg", "style=brief", "--template-arg", "deep=true")[1].startswith("hi brief deep\n")
    for arg, told in (("tone=a", "no variable 'tone'"), ("messages=[]", "cannot be set"), ("style", "KEY=VALUE")):
        scripted(EOS, template=template)
        code, _, err = said(*words, "--template-arg", arg)
        assert code == 2 and told in err


def test_special_tokens_count_only_where_that_is_asked_for(said: Any, scripted: Any) -> None:
    ids = []
    for more in ([], ["--special"]):
        scripted(EOS, template="{{ messages[0].content }}")
        code, out, err = said("run", "m", "a</s>b", "--no-stdin", "--show-prompt", "--json", *more)
        ids.append(json.loads(out)["ids"])
        assert code == 0 and ("special tokens" in err) == bool(more)
    assert EOS not in ids[0] and EOS in ids[1] and len(ids[1]) < len(ids[0])


def test_what_stands_between_two_texts(said: Any, scripted: Any) -> None:
    scripted(EOS, fim_pre_token_id=word("ST"), fim_suf_token_id=word("OP"), fim_mid_token_id=word("STOP"))
    code, out, _ = said("run", "m", "--fim", "d", "e", "--show-prompt", "--json", "-q")
    assert code == 0 and json.loads(out)["ids"][-5:] == [word("ST"), word("d"), word("OP"), word("e"), word("STOP")]
    scripted(EOS)
    code, _, err = said("run", "m", "--fim", "d", "e")
    assert code == 2 and "no tokens to fill in" in err
    assert said("run", "m", "hi", "--fim", "d", "e")[0] == 2
