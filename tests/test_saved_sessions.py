"""Sessions on disk: what is appended is there, whatever is torn off the end or wrong in the middle."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocal.chat import store as sessions
from llmlocal.chat.conversation import Conversation, Turn, assistant
from llmlocal.chat.transcript import markdown, record
from llmlocal.errors import BadFileError, NotFoundError, ResourceError, UsageError

Said = Callable[..., tuple[int, str, str]]


def turn(n: int) -> Turn:
    return Turn([{"role": "user", "content": f"question {n} \udcff é\n"}, assistant(f"answer {n}", "thought")])


def saved(where: Path, turns: int, id: str = "s") -> Path:
    file = sessions.named(id, "m", "Be.", where)
    for n in range(turns):
        file.turn(turn(n))
    file.close()
    return file.path


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = saved(tmp_path, 3)
    got = sessions.load("s", tmp_path)
    assert (got.id, got.model, got.conversation.system) == ("s", "m", "Be.")
    assert got.conversation.turns == [turn(n) for n in range(3)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert got.title == "question 0 \udcff é"


def test_everything_that_happens_is_replayed(tmp_path: Path) -> None:
    file = sessions.named("s", "m", None, tmp_path)
    for n in range(4):
        file.turn(turn(n))
    for happened in (
        {"type": "undo"},
        {"type": "drop", "turns": 1},
        {"type": "summary", "text": "short", "upto": 2},
        {"type": "system", "text": "New."},
        {"type": "from the future"},
    ):
        file.append(happened)
    file.close()
    talk = sessions.load("s", tmp_path).conversation
    assert (len(talk.turns), talk.first, talk.summary, talk.system) == (3, 2, "short", "New.")
    assert talk.messages()[0] == {"role": "system", "content": "New.\n\nSummary of our conversation so far:\n\nshort"}
    assert talk.messages()[1:] == turn(2).messages


def test_every_torn_end_costs_one_record_at_most(tmp_path: Path) -> None:
    path = saved(tmp_path, 3)
    data = path.read_bytes()
    whole = data.split(b"\n")[0]
    for end in range(len(whole) + 1, len(data) + 1):
        path.write_bytes(data[:end])
        turns = sessions.read(path).conversation.turns
        assert turns == [turn(n) for n in range(data[:end].count(b"\n") - 1)]


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 2000))
def test_a_torn_file_is_gone_on_with(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    where = tmp_path_factory.mktemp("torn")
    path = saved(where, 2)
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    file = sessions.named("s", "m", None, where)
    file.turn(turn(9))
    file.close()
    turns = sessions.read(path).conversation.turns
    assert turns == [turn(n) for n in range(max(0, data.count(b"\n") - 1))] + [turn(9)]


@pytest.mark.parametrize(
    "content",
    [b"x\n", b"[]\n", b"{}\n", b'{"schema": 2}\n', b"\x00" * 50 + b"\n", b'{"schema": 1}\n{"type": "turn"}\n']
    + [b'{"schema": 1}\n{"type": "turn", "messages": %s}\n' % m for m in (b"3", b"[]", b"[3]", b'[{"role": 1}]')]
    + [b'{"schema": 1}\nnonsense\n', b'{"schema": 1}\n' + b"[" * 99999 + b"\n"],
)  # fmt: skip
def test_damaged_files_are_errors_of_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.jsonl").write_bytes(content)
    with pytest.raises(BadFileError) as caught:
        sessions.load("s", tmp_path)
    assert "\n" not in str(caught.value)
    assert [type(found) for found in sessions.listing(tmp_path)] == [BadFileError]


LONE = '"\\ud800"'
VALUES = (
    "Infinity",
    "-Infinity",
    "NaN",
    "1e999",
    "-1",
    "1.5",
    "true",
    "null",
    '"x"',
    '"\\ud800"',
    "[]",
    "{}",
    "[[1]]",
    "9" * 5000,
)
TURN = '{"type": "turn", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", %s}]}'
FIELDS = (
    '{"type": "drop", "turns": %s}', '{"type": "summary", "text": "t", "upto": %s}', '{"type": %s}',
    '{"type": "summary", "text": %s, "upto": 0}', '{"type": "system", "text": %s}', '{"type": "turn", "messages": %s}',
    TURN % '"content": %s', TURN % '"content": "", "reasoning_content": %s', TURN % '"tool_calls": %s',
    TURN % '"tool_calls": [%s]', TURN % '"tool_calls": [{"function": %s}]',
    TURN % '"tool_calls": [{"function": {"name": "f", "arguments": {"a": %s}}}]', TURN % '"other": %s', "%s",
)  # fmt: skip


def wrong_sessions(where: Path) -> int:
    """A good session, and every field with every wrong value; returns how many there are."""
    saved(where, 2, "good")
    for i, field in enumerate(FIELDS):
        for j, value in enumerate(VALUES):
            (where / f"f{i}-{j}.jsonl").write_text('{"schema": 1, "system": "s"}\n' + field % value + "\n")
    for k, value in enumerate(VALUES):
        header = f'{{"schema": 1, "created": {value}, "model": {value}, "system": {value}}}\n'
        (where / f"h{k}.jsonl").write_text(header + TURN % '"content": "x"' + "\n")
    return len(VALUES) * (len(FIELDS) + 1) + 1


def test_wrong_values_cost_no_other_session(said: Said, here: Path) -> None:
    n = wrong_sessions(here)
    code, out, err = said("sessions", "ls")
    assert (code, "2 turns  m  question 0" in out) == (0, True)
    assert all(line.startswith("damaged: ") for line in err.splitlines())
    listed = json.loads(said("sessions", "ls", "--json")[1])["sessions"]
    assert len(listed) + len(err.splitlines()) == n
    code, _, err = said("sessions", "show", "f0-0")
    assert (code, err.splitlines()[0]) == (5, "error: f0-0.jsonl: line 2: turns is not a whole number of 0 or more")
    assert said("sessions", "show", f"f6-{VALUES.index(LONE)}")[1].endswith("## Model\n\n\ufffd\n")


@pytest.mark.slow
def test_every_session_with_a_wrong_value_is_shown_or_one_line(said: Said, here: Path) -> None:
    wrong_sessions(here)
    for path in here.glob("*.jsonl"):
        id = path.name.removesuffix(".jsonl")
        for how in (["show", id], ["export", id, "--json"]):
            code, _, err = said("sessions", *how)
            assert (code, len(err.splitlines())) in ((0, 0), (5, 2)), (path.read_text(), err)


def test_a_session_without_a_readable_folder_is_not_found(said: Said, here: Path) -> None:
    (here / "folder.jsonl").mkdir()
    (here / "x.jsonl").symlink_to(here / "nowhere")
    assert said("sessions", "ls") == (0, "", "")


def test_names(tmp_path: Path) -> None:
    saved(tmp_path, 1, "abc1")
    saved(tmp_path, 1, "abd2")
    assert sessions.find("abc", tmp_path) == "abc1"
    with pytest.raises(NotFoundError, match="2 sessions start with"):
        sessions.find("ab", tmp_path)
    for wrong in ("", "x", "../abc1"):
        with pytest.raises(NotFoundError):
            sessions.find(wrong, tmp_path)
    for wrong in ("", "../x", "a/b", ".x", "x" * 200):
        with pytest.raises(UsageError):
            sessions.named(wrong, "m", None, tmp_path)
    with pytest.raises(NotFoundError):
        sessions.remove("abc", tmp_path)
    sessions.remove("abc1", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["abd2.jsonl"]


def test_latest_is_the_one_last_written_to(tmp_path: Path) -> None:
    old, new = saved(tmp_path, 1, "b"), saved(tmp_path, 1, "a")
    os.utime(new, (1, 1))
    assert sessions.latest(tmp_path).id == "b"
    os.utime(old, (0, 0))
    assert sessions.latest(tmp_path).id == "a"
    with pytest.raises(NotFoundError):
        sessions.latest(tmp_path / "none")


def test_one_chat_at_a_time(tmp_path: Path) -> None:
    first, second = (sessions.named("s", "m", None, tmp_path) for _ in range(2))
    first.turn(turn(0))
    with pytest.raises(ResourceError, match="open in another chat"):
        second.turn(turn(1))
    first.close()
    second.turn(turn(1))
    second.close()
    assert len(sessions.load("s", tmp_path).conversation.turns) == 2


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be written"):
        sessions.named("s", "m", None, tmp_path / "file").turn(turn(0))


def test_transcripts() -> None:
    call = {"type": "function", "id": "1", "function": {"name": "f", "arguments": {"a": 1}}}
    talk = Conversation("Be.", [Turn([{"role": "user", "content": "Hi"}, assistant("Yes", "Hm", [call])])])
    assert markdown(talk) == (
        "## System\n\nBe.\n\n## You\n\nHi\n\n## Model, thinking\n\n> Hm\n\n"
        '## Model calls a function\n\n```json\n{"name": "f", "arguments": {"a": 1}}\n```\n\n## Model\n\nYes\n'
    )
    assert [m["role"] for m in record(talk)["messages"]] == ["system", "user", "assistant"]


# ---- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("llmlocal.chat.store.folder", lambda: tmp_path)
    return tmp_path


def test_sessions_command(said: Said, here: Path, tmp_path: Path) -> None:
    assert said("sessions", "ls") == (0, "", "")
    saved(here, 2, "abc")
    code, out, err = said("sessions", "ls")
    assert (code, err) == (0, "")
    assert out.startswith("abc  ")
    assert "2 turns  m  question 0" in out
    assert said("sessions", "show", "ab")[1].startswith("## System\n\nBe.\n\n## You\n\nquestion 0")
    got = json.loads(said("sessions", "export", "abc", "--json")[1])
    assert (got["schema"], got["id"], len(got["messages"])) == (1, "abc", 5)
    assert said("sessions", "export", "abc", "--json", "--md") == said("sessions", "export", "abc")
    target = tmp_path / "out.md"
    assert said("sessions", "export", "abc", "-o", target) == (0, "", "")
    assert target.read_bytes().startswith(b"## System")
    assert said("sessions", "export", "abc", "-o", target)[0] == 2
    listed = json.loads(said("sessions", "ls", "--json")[1])
    assert [(s["id"], s["turns"]) for s in listed["sessions"]] == [("abc", 2)]


def test_rm_wants_to_be_sure(said: Said, here: Path) -> None:
    path = saved(here, 1)
    code, _, err = said("sessions", "rm", "s")
    assert (code, path.exists()) == (2, True)
    assert "--yes" in err
    assert said("sessions", "rm", "s", "--yes")[0] == 0
    assert not path.exists()
    assert said("sessions", "rm", "s", "--yes")[0] == 3


def test_damaged_sessions_are_named(said: Said, here: Path) -> None:
    (here / "bad.jsonl").write_text("x\n")
    code, out, err = said("sessions", "ls")
    assert (code, out) == (0, "")
    assert err.startswith("damaged: bad.jsonl: ")
    assert said("sessions", "show", "bad")[0] == 5


@pytest.mark.parametrize("turns", ["Infinity", "NaN", "1e999", "-1", "1.5", "true", '"1"', "null", "9" * 5000])
def test_wrong_numbers_damage_one_session_alone(here: Path, turns: str) -> None:
    path = saved(here, 1)
    (here / "bad.jsonl").write_bytes(path.read_bytes() + f'{{"type": "drop", "turns": {turns}}}\n'.encode())
    found = list(sessions.listing(here))
    assert sorted(type(item).__name__ for item in found) == ["BadFileError", "SavedSession"]


def test_half_characters_are_shown_as_replacements(said: Said, here: Path) -> None:
    path = saved(here, 1)
    path.write_bytes(path.read_bytes().replace(b"question 0", b"a \\ud800 b \\ud83d\\ude00"))
    for words in (("show", "s"), ("export", "s"), ("ls",)):
        code, out, _ = said("sessions", *words)
        assert (code, "a \ufffd b \U0001f600" in out) == (0, True)
