"""`chat` on a terminal, as a person sees it: screens, keys, sessions."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from chats import Chat, sessions, texts

MARKDOWN = (
    "Hello **world**, a `code` and *it*.\n\n# Title\n\n- one\n- two\n\n```python\ndef f(x):\n    return 'a'\n```\n\n"
    "| a | b |\n|---|---|\n| 1 | 日本 |\n\n> so\n\n[here](http://x)"
)
DRAWN = [
    "> Hi",
    "",
    "Hello world, a code and it.",
    "",
    "Title",
    "",
    "• one",
    "• two",
    "",
    "```python",
    "def f(x):",
    "    return 'a'",
    "```",
    "",
    "a  b",
    "─  ────",
    "1  日本",
    "",
    "│ so",
    "",
    "here (http://x)",
]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_an_answer_in_markdown(chat: Chat, columns: int) -> None:
    person = chat([MARKDOWN], columns=columns)
    person.prompted()
    person.say("Hi")
    lines = person.prompted(2)
    start = lines.index("> Hi")
    assert lines[start:-2] == DRAWN
    invitation = "/? for help" if columns == 40 else "Ask anything (/? for help)"
    assert lines[-1].split() == [">", *invitation.split(), "context", "4%", "of", "4096"]
    assert len(lines[-1]) == columns - 1 or len(lines[-1]) == columns
    assert person.close() == 0


PROSE = (
    "A paragraph that is longer than any of the terminals here, so that it has to be broken into several lines, each "
    "of which ends with a whole word.\n\n- an item of a list that is long enough to be broken as well, with its next "
    "lines indented\n  - and one within it\n\n> a quotation that goes on for more than one line, too, as they do\n\n"
    "| name | what is to be said about it |\n|:--|--:|\n| first | rather a lot of words in a single cell of the table |"
)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_no_line_is_cut_in_a_word(chat: Chat, columns: int) -> None:
    person = chat([PROSE, THINKING], columns=columns)
    start = person.prompted()
    assert " ".join(start[:-1]).split() == ["m", "·", "/?", "for", "help", "·", "Ctrl-D", "to", "quit"]
    person.say("Hi")
    answer = person.prompted(2)[len(start) :]
    person.say("/?")
    lines = person.prompted(3)
    assert max(map(len, lines)) <= columns
    known = {*PROSE.split(), *["│", "•", "◦", ">"]}
    shown = [word for line in answer[:-2] for word in line.split() if not set(word) <= set("─")]
    assert [word for word in shown if word not in known] == []
    assert [word for word in PROSE.split() if word.isalpha() and word not in shown] == []
    assert any(line.startswith("  indented") or "words in a single" in line for line in answer)


def test_the_answer_streams(chat: Chat) -> None:
    person = chat(["a slow answer that goes on"], delay=0.03)
    person.prompted()
    person.say("Hi")
    seen = set()
    person.until(lambda lines: bool(seen.add(lines[-1])) or any("goes on" in line for line in lines))  # type: ignore[func-returns-value]
    parts = [line for line in seen if line and "a slow answer that goes on".startswith(line)]
    assert len(parts) >= 5
    assert person.close() == 0


def test_raw_and_render_off(chat: Chat) -> None:
    person = chat(["**b**"], "--render", "off")
    person.prompted()
    person.say("Hi")
    person.until("**b**")
    person.say("/raw")
    person.until("(Markdown is formatted)")
    person.say("Hi")
    lines = person.prompted(4)
    assert lines[-3] == "b"
    assert person.close() == 0


def test_multi_line_paste_and_keys(chat: Chat, tmp_path: Path) -> None:
    person = chat(["ok"])
    person.prompted()
    person.paste("first\nsecond\tx\nthird")
    person.until("third")
    person.type("\n")  # Ctrl-J
    person.type("fourth")
    person.type("\x1b\r")  # Alt-Enter
    person.type("fifth")
    lines = person.until("fifth")
    assert not any(line == "ok" for line in lines)
    person.say("")
    person.until("ok")
    lines = person.prompted()
    at = lines.index("> first")
    assert [line.split() for line in lines[at : at + 7]] == [
        [">", "first"], ["second", "x"], ["third"], ["fourth"], ["fifth"], [], ["ok"],
    ]  # fmt: skip
    assert person.close() == 0
    assert texts(sessions(tmp_path)[0]) == ["first\nsecond\tx\nthird\nfourth\nfifth", "ok"]


THINKING = "<think>\nHm, two.\n</think>\n\nIt is 4."


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("show", ["> Hi", "", "thinking:", "Hm, two.", "", "It is 4."]),
        ("fold", ["> Hi", "", "thought for 0 s, 18 tokens (/think shows it)", "It is 4."]),
        ("hide", ["> Hi", "", "It is 4."]),
    ],
)
def test_thoughts(chat: Chat, tmp_path: Path, how: str, expected: list[str]) -> None:
    person = chat([THINKING], "--thoughts", how)
    person.prompted()
    person.say("Hi")
    lines = person.prompted(2)
    assert lines[lines.index("> Hi") : -2] == expected
    assert texts(sessions(tmp_path)[0]) == ["Hi", "It is 4."]
    person.say("/think")
    person.until("Hm, two.")
    assert person.close() == 0


def test_thought_is_dim(chat: Chat) -> None:
    person = chat([THINKING])
    person.prompted()
    person.say("Hi")
    person.prompted(2)
    person.close()
    assert b"\x1b[2mHm,\x1b[0m" in person.raw
    assert b"\x1b[2mI" not in person.raw


def test_resize_while_typing_and_while_answering(chat: Chat) -> None:
    person = chat(["word " * 40], delay=0.005)
    person.prompted()
    person.type("a question")
    person.until("> a question")
    person.size(40)
    person.until(lambda lines: any("context 0% of 4096" in line and len(line) <= 40 for line in lines))
    person.say("")
    person.until("word word")
    person.size(120)
    lines = person.prompted()
    answer = "".join(line for line in lines if line.startswith(("word", "ord")))
    assert answer.count("word") >= 20
    assert lines[-1].endswith("of 4096")
    assert len(lines[-1]) > 100
    assert person.close() == 0


def test_sessions_go_on(chat: Chat, tmp_path: Path) -> None:
    person = chat(["first answer"])
    person.prompted()
    person.say("one")
    person.prompted(2)
    assert person.close() == 0
    person = chat(["second answer"], "--continue")
    person.until("continued after 1 turn")
    person.prompted()
    person.say("two")
    person.prompted(2)
    person.say("/context")
    person.until("the model sees 2 turns")
    person.close()
    (records,) = sessions(tmp_path)
    assert texts(records) == ["one", "first answer", "two", "second answer"]
    mode = stat.S_IMODE(next((tmp_path / "llmlocal" / "sessions").iterdir()).stat().st_mode)
    assert mode == 0o600
    history = tmp_path / "llmlocal" / "history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+one" in history.read_text()


@pytest.mark.parametrize("way", ["--no-save", "LLMLOCAL_NO_HISTORY"])
def test_nothing_is_kept_that_is_not_wanted(chat: Chat, tmp_path: Path, way: str) -> None:
    person = chat(["x"], "--no-save") if way == "--no-save" else chat(["x"], LLMLOCAL_NO_HISTORY="1")
    person.prompted()
    person.say("secret")
    person.prompted(2)
    person.type("\x1b[A")  # the history of this chat is there all the same
    person.until(lambda lines: "secret" in lines[-1])
    person.type("\x03")
    person.prompted(2)
    person.close()
    assert not (tmp_path / "llmlocal" / "history").exists()
    assert len(sessions(tmp_path)) == (0 if way == "--no-save" else 1)


def test_unwritable_folder_is_a_warning(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "llmlocal").write_text("in the way")
    person = chat(["x"])
    person.until("the history cannot be kept")
    person.prompted()
    person.say("Hi")
    person.until(lambda lines: "no longer saved" in " ".join(lines))  # the line is wrapped
    person.prompted(2)
    person.say("again")
    lines = person.prompted(3)
    assert " ".join(lines).count("no longer saved") == 1
    assert person.close() == 0


@pytest.mark.parametrize(
    ("key", "said"), [("d", "no longer sees the"), ("s", "A SUMMARY"), ("p", "no room for an answer")]
)
def test_the_end_of_the_context(chat: Chat, tmp_path: Path, key: str, said: str) -> None:
    answers = ["long " * 20, "long " * 20, "A SUMMARY" if key == "s" else "after", "after"]
    person = chat(answers, n_ctx=420, columns=140)
    person.prompted()
    for n in (2, 3):
        person.say("question")
        person.prompted(n)
    person.say("the last one")
    person.until("[d/s/p]")
    person.say("perhaps")  # no answer: asked again
    person.until("answer with one of: d, drop, s, summarize, p, stop")
    person.until(lambda lines: sum("[d/s/p]" in line for line in lines) == 2)
    person.say(key)
    lines = person.until(said)
    person.until(lambda lines: bool(lines) and lines[-1].endswith("of 420") and "error:" not in lines[-1])
    lines = person.shown()
    assert any("after" in line for line in lines) == (key != "p")
    if key == "s":
        person.say("/context")
        person.until("the model sees the last turn and a summary of 2 older ones")
    if key == "p":
        assert "the last one" in lines[-1]  # to be sent after all, in another way
        person.type("\x03")
    assert person.close() == 0
    kinds = [record.get("type") for record in sessions(tmp_path)[0][1:]]
    assert kinds == {"d": ["turn", "turn", "drop", "turn"], "s": ["turn", "turn", "summary", "turn"]}.get(
        key, ["turn"] * 2
    )


def test_dumb_terminal(chat: Chat) -> None:
    person = chat([MARKDOWN], TERM="dumb")
    person.until(lambda lines: lines[-1:] == [">"])
    person.type("Hi\n")
    person.until("[here](http://x)")
    person.until(lambda lines: lines[-1:] == [">"])
    person.type("/context\n")
    person.until("the model sees 1 turn")
    assert person.close() == 0
    assert b"\x1b" not in person.raw
    assert b"**world**" in person.raw


def test_a_dumb_terminal_cuts_no_word(chat: Chat) -> None:
    """Nothing has to be drawn over for that."""
    words = "supercalifragilistic expialidocious " * 6
    person = chat([words], TERM="dumb", columns=40)
    person.until(lambda lines: lines[-1:] == [">"])
    person.type("Hi\n")
    person.until(lambda lines: lines[-1:] == [">"] and len(lines) > 8)
    person.type("/help\n")
    person.until("with /.")
    assert person.close() == 0
    lines = [line.strip() for line in person.raw.decode().splitlines()]
    assert lines.count("supercalifragilistic expialidocious") == 6
    assert b"\x1b" not in person.raw and max(map(len, lines)) <= 40


def test_no_color(chat: Chat) -> None:
    person = chat([THINKING + MARKDOWN], NO_COLOR="1")
    person.prompted()
    person.say("Hi")
    person.prompted(2)
    assert person.close() == 0
    assert not __import__("re").search(rb"\x1b\[(?:[2-9]|[0-9;]*3[0-7]|9[0-7])m", bytes(person.raw))
    assert b"**world**" in person.raw


@pytest.mark.parametrize("columns", [40, 200])
def test_wide_and_combining_characters(chat: Chat, tmp_path: Path, columns: int) -> None:
    text = "日本語 naïve e\u0301 👍 שלום"
    person = chat([f"{text}\n\n| {text} | b |\n|---|---|\n| x | y |"], columns=columns)
    person.prompted()
    person.type("日本語 e\u0301x\x7f\x7f")
    person.until(lambda lines: "本" in lines[-1])
    person.say("")
    lines = person.prompted(2)
    assert any("naïve" in line for line in lines)
    assert texts(sessions(tmp_path)[0])[0].startswith("日本語")
    assert person.close() == 0


def test_a_model_cannot_move_the_terminal(chat: Chat) -> None:
    evil = "a\x1b[2Jb\x1b]52;c;aGk=\x07c\x9b1mc `x\x1b[Hy` **\x1b[31mz**\n```python\nx = '\x1b[5m'\n```\n\u202eend"
    person = chat([evil, f"<think>{evil}</think>{evil}"])
    person.prompted()
    for n in (2, 3):
        person.say("Hi")
        person.prompted(n)
    assert person.close() == 0
    for bad in (b"\x1b[2J", b"\x1b]52", b"\x9b1m".decode("latin-1").encode(), b"\x1b[H", b"\x1b[5m", b"\x1b[31m"):
        assert bad not in person.raw.split(b"Hi", 1)[1], bad
    assert any("\\x1b[2Jb" in line for line in person.shown())
