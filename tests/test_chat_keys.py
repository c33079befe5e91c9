"""What is typed at `chat` on a terminal: completion, search, the editor, consent to functions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chats import Chat, sessions, texts


def test_completion_and_history_search(chat: Chat, tmp_path: Path) -> None:
    person = chat(["x"])
    person.prompted()
    person.type("/conte\t")
    person.until("> /context")
    person.say("")
    person.until("the model sees 0 turns")
    person.prompted(2)
    person.say("a rare question")
    person.prompted(3)
    person.type("\x12rare")  # Ctrl-R
    lines = person.until(lambda lines: sum(line.startswith("> a rare question") for line in lines) == 2)
    assert not any("Ask anything" in line for line in lines if "rare" in line)
    person.type("\r")
    person.until(lambda lines: "> a rare question" in lines[-1])
    person.type("\x03")
    assert person.close() == 0


def test_copy_goes_through_the_terminal_where_there_is_no_clipboard(chat: Chat) -> None:
    person = chat(["**b**"], PATH="", DISPLAY="", WAYLAND_DISPLAY="")
    person.prompted()
    person.say("Hi")
    person.prompted(2)
    person.say("/copy")
    person.until("(copied the last answer, 5 characters, with the terminal)")
    assert person.close() == 0
    assert b"\x1b]52;c;Kipiioq\x07" in person.raw or b"\x1b]52;c;KipiKio=" in person.raw


def test_edit(chat: Chat, tmp_path: Path) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nprintf "better question" > "$1"\n')
    editor.chmod(0o755)
    person = chat(["one", "two"], EDITOR=str(editor))
    person.prompted()
    person.say("question")
    person.prompted(2)
    person.say("/edit last")
    lines = person.prompted(3)
    assert lines[-3] == "two"
    assert person.close() == 0
    assert texts(sessions(tmp_path)[0]) == ["question", "one", "better question", "two"]


def test_functions_run_only_when_the_user_says_so(chat: Chat, tmp_path: Path) -> None:
    tool = {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
        "command": ["sh", "-c", f"cat; touch {tmp_path}/ran"],
    }
    (tmp_path / "tools.json").write_text(json.dumps([tool]))
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    template = "{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content }}{% endfor %}<tool_call><|im_start|>a"
    person = chat([call, call, "three"], "--tools", tmp_path / "tools.json", template=template)
    person.prompted()
    person.say("1 + 2?")
    person.until("call: add(a=1)")
    person.until("run sh?")
    person.until("[y/always/n]")
    person.say("n")
    person.prompted(2)
    assert not (tmp_path / "ran").exists()
    person.say("do it")
    person.until(lambda lines: sum("[y/always/n]" in line for line in lines) == 2)
    person.say("y")
    lines = person.until("three")
    assert any('result: {"a": 1}' in line for line in lines)
    assert (tmp_path / "ran").exists()
    assert person.close() == 0
    turn = sessions(tmp_path)[0][2]
    assert [m["role"] for m in turn["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert turn["messages"][2]["content"] == '{"a": 1}'


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_only_a_whole_answer_typed_after_the_question_is_consent(chat: Chat, tmp_path: Path, term: str) -> None:
    tool = {"name": "add", "parameters": {}, "command": ["sh", "-c", f"echo >> {tmp_path}/ran; echo 3"]}
    (tmp_path / "tools.json").write_text(json.dumps([tool]))
    call = '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>'
    template = "{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content }}{% endfor %}<tool_call><|im_start|>a"
    answers = [f"one moment {call}", "three", call, "four"]
    person = chat(answers, "--tools", tmp_path / "tools.json", template=template, delay=0.004, TERM=term)
    person.until(lambda lines: bool(lines) and lines[-1].startswith(">"))
    person.say("1 + 2?")
    person.until("one mom")
    person.say("y")
    person.say("yes")
    person.until("[y/always/n]")
    for n, text in enumerate(("yellow is nice", "", "yes please"), 2):
        person.say(text)
        person.until(lambda lines, n=n: sum("[y/always/n]" in line for line in lines) == n)  # type: ignore[misc]
    assert not (tmp_path / "ran").exists()
    person.say(" Always ")
    person.until("three")
    person.until(lambda lines: lines[-1].startswith(">"))
    person.say("again")
    person.until("four")
    assert (tmp_path / "ran").read_text() == "\n\n"
    assert person.close() == 0
