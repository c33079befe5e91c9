"""What a person types in a chat: commands, words that may be commands, lines to correct, sessions to go on with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pty", reason="no pseudo-terminals on this system")
from terminals import Person, at_a_chat, people

from llmlocal.chat.conversation import Conversation, Turn, assistant, result
from llmlocal.chat.transcript import openai, sharegpt
from llmlocal.cli.chat import slash_commands
from llmlocal.cli.chat.completion import complete
from llmlocal.cli.ui.keyboard import Pastes
from llmlocal.errors import PromptTooLongError

Chat = Callable[..., Person]
Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    """Starts a chat with a scripted model at a terminal."""

    def start(answers: list[str], *options: str, delay: float = 0, model: str = "m", columns: int = 90) -> Person:
        script = {"answers": answers, "delay": delay, "n_ctx": 4096}
        chosen, nowhere = ("--template", "chatml", *options), {"PATH": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
        started.append(at_a_chat(tmp_path, script, model, *chosen, columns=columns, **nowhere))
        return started[-1]

    with people() as started:
        yield start


def records(tmp_path: Path) -> list[dict[str, Any]]:
    (path,) = (tmp_path / "llmlocal" / "sessions").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(person: Person, line: str, answer: str, question: str) -> None:
    """Type a line that is asked about, and answer."""
    before = sum("[y/n]" in shown for shown in person.shown())
    person.say(line)
    person.until(lambda lines: sum("[y/n]" in shown for shown in lines) > before)
    assert any(question in shown for shown in person.shown())
    person.say(answer)


@pytest.mark.parametrize(("wrap", "cut"), [("on", False), ("off", True)])
def test_lines_are_broken_between_words_unless_that_is_off(chat: Chat, wrap: str, cut: bool) -> None:
    person = chat(["abcdefghi " * 12 + "end"], "a question", "--wrap", wrap, columns=44)
    person.until(lambda lines: any(line.endswith("end") for line in lines))
    answer = [line for line in person.shown() if "abcdefghi" in line]
    assert all(set(line.split()) <= {"abcdefghi", "end"} for line in answer) != cut
    person.prompted()
    assert person.close() == 0


def test_a_chat_takes_the_sampling_options_of_run(chat: Chat) -> None:
    given = ["--typical", "0.5", "--frequency-penalty", "0.25", "--presence-penalty", "0.75"]
    person = chat(["an answer"], *given)
    person.prompted()
    person.say("/set")
    person.until("presence_penalty 0.75")
    assert {"typical_p 0.5", "frequency_penalty 0.25"} <= {line.strip() for line in person.shown()}
    assert person.close() == 0


def test_a_cut_answer_goes_on(chat: Chat, tmp_path: Path) -> None:
    person = chat(["one two three four five six", " and more"], "a first question", delay=0.02)
    person.until("one two")
    person.type("\x03")
    person.until("(stopped; /continue goes on)")
    person.prompted()
    person.say("/continue")
    person.until("and more")
    person.prompted(2)
    assert person.close() == 0
    assert any(line == "> a first question" for line in person.shown())
    kinds = [record.get("type") for record in records(tmp_path)[1:]]
    assert kinds == ["turn", "undo", "turn"]
    question, answer = records(tmp_path)[-1]["messages"]
    assert question["content"] == "a first question"
    assert answer["content"].startswith("one two") and answer["content"].endswith(" and more")


def test_commands_say_what_they_did(chat: Chat, tmp_path: Path) -> None:
    person = chat(["text\n```python\nx = 1\n```"], "--temp", "0.5", "--session", "s")  # kept without turns
    person.prompted()
    person.say("Hi")
    person.prompted(2)
    for number, (line, words) in enumerate(
        [
            ("/set temp 0.2", "(temperature is now 0.2, was 0.5)"),
            ("/set temp", "temperature 0.2"),
            ("/system Be brief.", "(system prompt set)"),
            ("/think fold", "(thinking is shown as one line)"),
            ("/copy", "(copied the last answer, 24 characters, with the terminal)"),
            ("/copy code", "(copied the last block of code, 6 characters, with the terminal)"),
            ("/sessions", "1 turn   m  Hi"),
            ("/?", "/continue  go on with the last answer, if it was cut short"),
            ("/undo", "(removed the last turn)"),
        ],
        start=3,
    ):
        person.say(line)
        assert any(words in shown for shown in person.until(words))
        lines = person.prompted(number)
    assert lines[-1].endswith("context 0% of 4096")
    assert person.close() == 0
    assert records(tmp_path)[0]["settings"] == {"temperature": 0.5}


def test_words_and_lines_that_may_be_commands_are_asked_about(chat: Chat, tmp_path: Path) -> None:
    person = chat(["an answer"])
    person.prompted()
    asked(person, "/usr/bin/env: not found", "n", "There is no command /usr/bin/env:. Send")
    person.until(lambda lines: lines[-1].startswith("> /usr/bin/env: not found"))  # nothing typed is lost
    person.type("\x03")
    person.prompted()
    asked(person, "/contxt", "y", "did you mean /context? Send")
    person.until("an answer")
    person.prompted(3)
    person.say("/read /nowhere/x what?")
    person.until("no such file")
    person.until(lambda lines: lines[-1].startswith("> /read /nowhere/x what?"))
    person.type("\x03")
    asked(person, "help", "y", "List the commands")
    person.until("/retry")
    asked(person, "quit", "n", "Leave the chat?")
    person.until(lambda lines: sum("an answer" in line for line in lines) == 2)
    asked(person, "exit", "y", "Leave the chat?")
    assert person.process.wait(60) == 0
    turns = [record["messages"][0]["content"] for record in records(tmp_path) if record.get("type") == "turn"]
    assert turns == ["/contxt", "quit"]


@pytest.mark.parametrize(("trained", "hint"), [(8192, "send a part of it"), (16384, "--ctx 10240 holds it")])
def test_no_context_is_offered_for_which_the_model_was_not_trained(trained: int, hint: str) -> None:
    metadata = {"general.architecture": "llama", "llama.context_length": trained}
    tokenizer = SimpleNamespace(encode=lambda text, **_: [0] * len(text))
    session = SimpleNamespace(tokenizer=tokenizer, n_ctx=4096, gguf=SimpleNamespace(metadata=metadata))
    runner: Any = SimpleNamespace(chat=SimpleNamespace(session=session, answer_room=256))
    with pytest.raises(PromptTooLongError) as error:
        slash_commands._check_fits(runner, "big.txt", b"x" * 9000)
    assert hint in error.value.hint


def test_a_file_too_large_says_which_context_would_do(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_text("x" * 5000)
    person = chat(["an answer"])
    person.prompted()
    person.say(f"/read {tmp_path}/big.txt")
    lines = person.until("--ctx")
    assert any("llmlocal chat --continue --ctx 6144 holds it" in line for line in lines)
    assert re.search(r"is 5\d\d\d tokens; the context holds 4096, 256 of them", " ".join(lines))
    person.until(lambda lines: "big.txt" in lines[-1])
    person.type("\x03")
    assert person.close() == 0


def test_a_session_goes_on_as_it_ended(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(b"")
    person = chat(["the first answer"])
    person.prompted()
    person.say("a question")
    person.prompted(2)
    person.say("/set top_k 7")
    person.until("(top_k is now 7")
    person.say(f"/model {tmp_path}/other.gguf")
    person.until("(now using")
    assert person.close() == 0
    person = chat(["another"], "--continue", "--top-p", "0.5", model="--no-save")
    lines = person.prompted()
    assert lines[0].endswith("continued after 1 turn")
    at = lines.index("> a question")
    assert lines[at + 2] == "the first answer"
    person.say("/set")
    person.until("top_k 7")
    person.until("top_p 0.5")
    assert person.close() == 0
    assert [r for r in records(tmp_path) if r.get("type") == "model"] == [
        {"type": "model", "model": f"{tmp_path}/other.gguf", "time": records(tmp_path)[-1]["time"]}
    ]


def test_tab_offers_words_with_what_they_are(tmp_path: Path) -> None:
    length, words = complete("/se")
    assert (length, [word for word, _ in words]) == (3, ["/set", "/sessions"])
    assert dict(complete("/")[1])["/undo"] == "remove the last turn"
    assert ("code", "") in complete("/copy c")[1]
    (tmp_path / "notes.txt").write_text("x")
    assert (f"{tmp_path}/notes.txt", "") in complete(f"/read {tmp_path}/no")[1]
    assert any(what == "can be downloaded" for _, what in complete("/model ")[1])
    assert complete("text") == (0, ())


def test_pastes_are_shown_short_and_sent_whole() -> None:
    pastes = Pastes()
    many, few = "\n".join(map(str, range(120))), "a\nb\tc"
    assert pastes.taken(few) == few
    mark, other = pastes.taken(many), pastes.taken(many + "x")
    assert (mark, other) == ("[pasted 120 lines]", "[pasted 120 lines, 2]")
    assert pastes.taken(many) == mark
    assert pastes.taken("x" * 3000) == "[pasted 3000 characters]"
    assert pastes.whole(f"before {mark} {other} after") == f"before {many} {many}x after"
    assert pastes.mark_before(f"see {other}") == len(other)
    nested = pastes.taken(f"{mark}\n" * 50)
    assert pastes.whole(nested) == f"{mark}\n" * 50  # a mark within a paste is text


CALL = {"id": "call1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}


def test_transcripts_that_others_read() -> None:
    question, called = {"role": "user", "content": "q"}, assistant("", "hm", [CALL])
    whole = Conversation("Be brief.", [Turn([question, called, result("f", "call1", "3"), assistant("a")])])
    messages = openai(whole)["messages"]
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert messages[2]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert messages[3] == {"role": "tool", "content": "3", "tool_call_id": "call1"}
    assert sharegpt(whole, "x") == [
        {
            "id": "x",
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "q"},
                {"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1}}'},
                {"from": "observation", "value": "3"},
                {"from": "gpt", "value": "a"},
            ],
        }
    ]


def test_sessions_are_searched_exported_and_removed(said: Said, tmp_path: Path, monkeypatch: Any) -> None:
    from llmlocal.chat import store

    monkeypatch.setattr(store, "folder", lambda: tmp_path / "sessions")
    for name, question in (("one", "Trains to Ghent"), ("two", "tickets for a Train"), ("three", "cheese")):
        file = store.named(name, "models/small.gguf", None)
        file.turn(Turn([{"role": "user", "content": question}, assistant("fine")]))
        file.close()
    _, out, _ = said("sessions", "search", "TRAIN", "tickets")
    assert [line.split()[0] for line in out.splitlines()] == ["two", "tickets"]
    assert said("sessions", "search", "nowhere")[0] == 3
    assert "small  Trains to Ghent" in said("sessions", "ls")[1]
    _, out, _ = said("sessions", "export", "one", "--format", "openai")
    assert json.loads(out) == {
        "messages": [{"role": "user", "content": "Trains to Ghent"}, {"role": "assistant", "content": "fine"}]
    }
    assert json.loads(said("sessions", "export", "one", "--format", "sharegpt")[1])[0]["id"] == "one"
    assert said("sessions", "rm", "one", "nothere", "-y")[0] == 3
    assert len(store.names()) == 3  # none goes where one is unknown
    assert said("sessions", "rm")[0] == said("sessions", "rm", "--all")[0] == said("sessions", "rm", "two")[0] == 2
    assert said("sessions", "rm", "one", "two", "-y")[0] == 0
    assert said("sessions", "rm", "--all", "--yes")[0] == 0
    assert store.names() == []
