"""A model that loads while the user types."""

from __future__ import annotations

from pathlib import Path

from chats import Chat, sessions, texts


def test_the_model_loads_while_the_user_types(chat: Chat, tmp_path: Path) -> None:
    person = chat(["an answer"], loading="go")
    person.until(lambda lines: bool(lines) and lines[-1].endswith("loading the model"))
    assert any("context 0% of 4096" in line for line in person.shown())  # the prompt is there
    person.say("a question")
    person.until(lambda lines: "loading the model" in lines[-1] and "> a question" in lines[-3])
    person.type("\x03")  # back to the question; loading goes on
    person.until(lambda lines: "(stopped)" in lines and any("a question   " in line for line in lines))
    person.say(" again")
    (tmp_path / "go").touch()
    lines = person.prompted()
    assert lines[-3] == "an answer"
    assert not any("loading" in line for line in lines)
    assert person.close() == 0
    assert texts(sessions(tmp_path)[0]) == ["a question again", "an answer"]


def test_leaving_does_not_wait_for_the_model(chat: Chat) -> None:
    person = chat(["an answer"], loading="never")
    person.until("context 0% of 4096")
    assert person.close() == 0


def test_a_model_that_cannot_be_loaded_is_told_above_the_line_that_is_typed(chat: Chat, tmp_path: Path) -> None:
    person = chat(["x"], loading="go", failure="not enough memory")
    person.until("context 0% of 4096")
    person.type("half a ques")
    person.until("> half a ques")
    (tmp_path / "go").touch()
    lines = person.until("hint: try /model NAME")
    assert "error: not enough memory" in lines
    person.until(lambda lines: lines[-1].startswith("> half a ques"))
    person.say("tion")
    person.until(lambda lines: lines.count("error: not enough memory") == 2)
    person.until(lambda lines: lines[-1].startswith("> half a question"))  # to be sent to another model
    person.type("\x03")
    person.prompted()
    assert person.close() == 0


def test_where_nothing_can_be_drawn_over_loading_is_said_in_words(chat: Chat, tmp_path: Path) -> None:
    person = chat(["x"], loading="go", TERM="dumb")
    person.until(">")
    person.say("Hi")
    person.until("(loading the model)")
    (tmp_path / "go").touch()
    person.until(lambda lines: "x" in lines)
    assert person.close() == 0
    assert b"\x1b" not in person.raw
