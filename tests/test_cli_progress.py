"""What is said while kernels compile, and colours."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from io import BytesIO, TextIOWrapper

import pytest

from llmlocal.cli.ui import terminal
from llmlocal.errors import LlmlocalError
from llmlocal.quant.jit.linker import Progress


class Terminal(TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self) -> None:
        super().__init__(BytesIO(), "utf-8", write_through=True)

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        assert isinstance(self.buffer, BytesIO)
        return self.buffer.getvalue().decode()


def test_compile_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", tty := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with terminal.Screen() as screen:
        screen.compiling(Progress("gemm"))
        screen.compiling(Progress("x" * 500))
    *lines, erased = tty.text().split("\r")
    assert "compiling gemm" in lines[1]
    assert len(lines[2]) < 90
    assert erased == "\x1b[K"
    monkeypatch.setenv("TERM", "dumb")
    begun = len(tty.text())
    with terminal.Screen() as screen:
        screen.compiling(Progress("gemm", 0, 2))
        screen.compiling(Progress("gemv", 1, 2))
    assert tty.text()[begun:].count("\n") <= 1  # words alone, once


@pytest.mark.parametrize(
    ("seconds", "left"), [(None, ""), (0.0, ", about 1 s"), (7.4, ", about 7 s"), (18.0, ", about 20 s")]
)
def test_compiling_in_words(seconds: float | None, left: str) -> None:
    progress = Progress("gemm", 4, 12, seconds)
    assert terminal.compiling_label(progress) == f"first run: compiling 5 of 12{left}"
    assert terminal.compiling_label(progress, first=False) == f"compiling 5 of 12{left}"


def test_a_line_that_moves_while_kernels_compile_and_then_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", tty := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with terminal.Screen() as screen:
        screen.busy("loading the model")
        screen.compiling(Progress("gemm", 0, 2, 3.0))
        _until(lambda: tty.text().count("compiling 1 of 2, about 3 s") > 2)
        screen.compiling(Progress("", 2, 2))
        begun = len(tty.text())
        _until(lambda: "loading the model" in tty.text()[begun:])
    assert tty.text().endswith("\r\x1b[K")


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    assert done()


@pytest.mark.parametrize(("name", "value"), [("TERM", "xterm"), ("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setattr(sys, "stderr", tty := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    terminal.report(LlmlocalError("a\x1bb", "c"), None)
    error = "\x1b[31merror:\x1b[0m" if value == "xterm" else "error:"
    assert tty.text() == f"{error} a\\x1bb\nhint: c\n"
