"""What rich draws: tables, charts and progress on a terminal, plain text in a pipe, and nothing foreign obeyed."""

from __future__ import annotations

import re
import subprocess
import sys
from io import BytesIO, TextIOWrapper

import pytest
from terminals import Screen

from llmlocal.cli.ui import terminal
from llmlocal.cli.ui.tables import BAR_WIDTH, Chart, Table, show_charts, show_table

HOSTILE = "[bold]:smile:\x1b[2J\n\u202e"
SHOWN = "[bold]:smile:\\x1b[2J\\n\\u202e"
TABLE = Table(("NAME", "SIZE"), [("a", "1"), (HOSTILE, "1000")], right=(1,))
STYLES = re.compile("\x1b\\[[0-9;]*m")


def on_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """stdout and stderr on one terminal of 60 columns, from now to the end of the test."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Screen(60)
    monkeypatch.setattr(sys, "stdout", screen.slave)
    monkeypatch.setattr(sys, "stderr", screen.slave)
    return screen


def test_table_in_a_pipe_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", pipe := TextIOWrapper(BytesIO()))
    show_table(TABLE)
    show_charts([Chart("speed", [("a", 1.0, "1.0")])])
    head, first, second = pipe.buffer.getvalue().decode().splitlines()
    assert (head.split(), first.split()) == (["NAME", "SIZE"], ["a", "1"])
    assert second == f"{SHOWN}  1000"
    assert len(first) == len(second) == len(head)


def test_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    terminal.say("before")
    show_table(TABLE)
    before, head, first, second = screen.close().decode().splitlines()
    assert before == "before"
    assert head.startswith("\x1b[1m")
    assert STYLES.sub("", head).split() == ["NAME", "SIZE"]
    assert [line.rstrip() for line in (first, second)] == [f"{'a':<{len(SHOWN)}}     1", f"{SHOWN}  1000"]


def test_a_cell_that_is_too_wide_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    show_table(Table(("NAME", "SIZE"), [("x" * 100, "1")]))
    lines = STYLES.sub("", screen.close().decode()).splitlines()
    assert max(map(len, lines)) <= 60
    assert "".join(line[:54].rstrip() for line in lines[1:]).count("x") == 100


def test_chart_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    show_charts([Chart("speed", [("[b]\x1b", 5.0, "5.0"), ("b", 10.0, "10.0")])])
    title, one, two = STYLES.sub("", screen.close().decode()).splitlines()
    assert title == "speed"
    assert (one.count("█"), two.count("█")) == (BAR_WIDTH // 2, BAR_WIDTH)
    assert "[b]\\x1b " in one and one.rstrip().endswith(" 5.0")


def test_progress_is_one_line_that_is_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    monkeypatch.setattr(terminal, "PATIENCE", 0)
    shown = terminal.Screen()
    shown.progress("prompt", 25, 100, " tokens", f", {HOSTILE}")
    shown.progress("prompt", 50, 100, " tokens")
    shown.transfer(HOSTILE, 150 << 10, 300 << 10)
    shown.status("asking")
    shown.clear()
    shown.clear()
    start, first, second, third, status, end = screen.close().decode().split("\r")
    assert start == "" and (status, end) == ("asking\x1b[K", "\x1b[K")
    drawn = [STYLES.sub("", line).removesuffix("\x1b[K") for line in (first, second, third)]
    assert drawn[0].startswith("prompt ") and "25 of 100 tokens" in drawn[0] and "50 of 100 tokens" in drawn[1]
    assert "150.0/300.0 KiB" in drawn[2]
    assert all(len(line) < 60 and "\x1b" not in line and "\n" not in line for line in drawn)


def test_rich_is_loaded_for_a_terminal_only() -> None:
    code = "import sys\nfrom llmlocal.cli.main import main\nassert main(['list', '--available']) == 0\n"
    out = subprocess.run([sys.executable, "-c", code + "assert 'rich' not in sys.modules"], stdout=subprocess.PIPE)
    assert out.returncode == 0 and out.stdout.startswith(b"NAME")
