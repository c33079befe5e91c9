"""Questions before files are fetched or removed: only what is typed after the question answers it."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("pyte")
pytest.importorskip("termios")
from terminals import Person

ASK = """
import select, sys
from llmlocal.cli.ui import terminal
print("working", flush=True)
select.select([sys.stdin], [], [])
print("agreed", terminal.confirm("Remove?"), terminal.confirm("Really?"))
"""


@pytest.mark.parametrize(("answers", "meaning"), [(("n", "no"), "False False"), (("y", "YES "), "True True")])
def test_what_was_typed_ahead_answers_nothing(answers: tuple[str, str], meaning: str) -> None:
    person = Person([sys.executable, "-c", ASK])
    person.until("working")
    person.type("y\ry\ryes\r")
    person.until("Remove? [y/N]")
    person.say(answers[0])
    person.until("Really? [y/N]")
    person.say(answers[1])
    person.until(f"agreed {meaning}")
    assert person.close(end=False) == 0


@pytest.mark.parametrize("word", ["yellow is nice", "yy", "", "ja"])
def test_only_a_whole_yes_agrees(word: str) -> None:
    person = Person([sys.executable, "-c", ASK.replace("select.select([sys.stdin], [], [])", "")])
    person.until("Remove? [y/N]")
    person.say(word)
    person.until("Really? [y/N]")
    person.say("n")
    person.until("agreed False False")
    assert person.close(end=False) == 0
