"""The first conversation of a newcomer: the built-in guide on a terminal, screen by screen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("pty", reason="no pseudo-terminals on this system")
from terminals import Person

CONVERSATION = [  # its marks of code are drawn as a colour
    ("how do I quantize a model?", "llmlocal quantize model.gguf Q4_K_M writes a smaller file beside the model"),
    ("and how do i undo that?", "Quantizing never touches its source: delete the new file and nothing has changed."),
    ("What is the capital of France?", "I only know llmlocal, so I cannot help with that."),
]


def test_three_turns_retry_and_exit(tmp_path: Path) -> None:
    homes = {name: str(tmp_path) for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    person = Person([sys.executable, "-m", "llmlocal", "chat", "-t", "1"], columns=200, **homes)
    screen = person.prompted()
    assert any("the built-in guide answers" in line for line in screen)
    for turn, (question, golden) in enumerate(CONVERSATION, start=2):
        person.say(question)
        assert after(person.prompted(turn), question).startswith(golden)
    person.say("/retry")
    assert after(person.prompted(5), "/retry").startswith(CONVERSATION[-1][1])  # it answers greedily
    person.say("/exit")
    assert person.process.wait(20) == 0


def after(lines: list[str], question: str) -> str:
    """What stands between a question and the next prompt."""
    start = next(i for i in reversed(range(len(lines))) if lines[i].startswith("> ") and question in lines[i])
    rest = lines[start + 1 :]
    end = next(i for i, line in enumerate(rest) if line.startswith(">"))
    return " ".join(line for line in rest[:end] if line)
