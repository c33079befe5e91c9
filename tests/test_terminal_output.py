"""What terminals and pipes get of an answer: control characters, progress, widths, colours."""

from __future__ import annotations

import re
import sys
from codecs import getincrementaldecoder
from collections.abc import Iterator
from io import BytesIO, TextIOWrapper
from pathlib import Path
from time import sleep

import pytest
from terminals import Screen, on_terminal

from llmlocal.chat_format.tag_splitter import Part
from llmlocal.cli.ui import terminal
from llmlocal.cli.ui.answer import AnswerScreen
from llmlocal.generation.events import Event, Finished, PromptProgress, Token

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
