"""A chat that is interrupted or killed: what it does, and what is left when it ends."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chats import Chat, sessions, texts
from terminals import Person


def test_stop_keeps_the_answer_and_retry_makes_another(chat: Chat, tmp_path: Path) -> None:
    person = chat(["one two three four five six seven", "short"], delay=0.02)
    person.prompted()
    person.say("Hi")
    person.until("one two")
    person.type("\x03")
    lines = person.prompted(2)
    assert lines[-3] == "(stopped; /continue goes on)"
    assert "one two three".startswith(lines[-4][:8])
    assert "seven" not in lines[-4]
    ((_, turn),) = sessions(tmp_path)
    assert turn["messages"][1]["content"].rstrip() == lines[-4]
    person.say("/retry")
    lines = person.prompted(3)
    assert lines[-3] == "short"
    assert person.close() == 0
    (records,) = sessions(tmp_path)
    assert [record.get("type") for record in records[1:]] == ["turn", "undo", "turn"]
    assert texts(records)[-2:] == ["Hi", "short"]


def test_second_interrupt_leaves(chat: Chat, tmp_path: Path) -> None:
    person = chat(["one two three four five six seven" * 9], delay=0.5)
    person.prompted()
    person.say("Hi")
    person.until(lambda lines: lines[-1] == "one")
    for _ in range(60):  # a busy machine may take two for one
        if person.process.poll() is None:
            person.process.send_signal(signal.SIGINT)
            time.sleep(0.2)
    modes = person.before
    assert person.process.wait(20) in (130, -signal.SIGINT)
    assert person.modes() == modes
    assert texts(sessions(tmp_path)[0])[0] == "Hi"


def test_interrupt_at_the_prompt(chat: Chat) -> None:
    person = chat(["x"])
    person.prompted()
    person.type("some text")
    person.until("> some text")
    person.type("\x03")
    person.until(lambda lines: "some text" not in lines[-1])
    person.type("\x03")
    person.until("press Ctrl-C again or Ctrl-D to leave")
    person.prompted(2)
    person.type("\x03")
    assert person.close(end=False) == 130


# ---- blows --------------------------------------------------------------------------------------------------------


def blows(chat: Chat, tmp_path: Path, blow: Callable[[Person], None], n: int) -> list[Person]:
    """`n` chats, each struck at a random moment of its life."""
    rng, people = random.Random(n), []
    for _ in range(n):
        person = chat(["some words and **more** of them"], "--session", "s", delay=0.001)
        try:
            if rng.random() < 0.7:
                person.prompted()
            moment = time.monotonic() + rng.uniform(0, 1.2)
            while time.monotonic() < moment:
                person.say("question")
                time.sleep(rng.uniform(0, 0.1))
        except (AssertionError, OSError):
            pass
        blow(person)
        people.append(person)
    return people


def interrupted(person: Person) -> None:
    for _ in range(40):
        if person.process.poll() is not None:
            break
        person.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert person.process.wait(20) in (0, 130, -signal.SIGINT)  # the last: before or after our program proper
    assert person.modes() == person.before


def killed(person: Person) -> None:
    person.process.kill()
    person.process.wait()


@pytest.mark.parametrize("n", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_interrupts_at_random_moments(chat: Chat, tmp_path: Path, n: int) -> None:
    blows(chat, tmp_path, interrupted, n)
    for records in sessions(tmp_path):
        assert records[0]["schema"] == 1
        # Lines that were typed while an answer came wait in one prompt.
        assert {line for text in texts(records)[::2] for line in text.splitlines()} == {"question"}


@pytest.mark.parametrize("n", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments(chat: Chat, tmp_path: Path, n: int) -> None:
    """Whatever answer was followed by a new prompt is in the file: at most the unfinished turn is lost."""
    shown = 0

    def blow(person: Person) -> None:
        nonlocal shown
        shown += max(0, sum(line.startswith("some words and more of them") for line in person.shown()) - 1)
        killed(person)

    blows(chat, tmp_path, blow, n)
    from llmlocal.chat.store import read

    files = list((tmp_path / "llmlocal" / "sessions").glob("*.jsonl"))
    kept = [turn for path in files for turn in read(path).conversation.turns]
    assert len(kept) >= shown > 0
    assert all(turn.answer == "some words and **more** of them" for turn in kept)
