"""A long session at a terminal, replayed: some forty exchanges and commands, and no line that is cut in a word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("pty", reason="no pseudo-terminals on this system")
from terminals import Person, at_a_chat, people

SENTENCE = "A paragraph of ordinary words which is quite a lot longer than the smaller ones of these terminals. "
TABLE = (
    "| quantity | what is to be said about it | number |\n|:--|:--|--:|\n"
    "| length | rather a lot of words within a single cell of this table | 12 |\n| width | little | 3 |\n"
)
ANSWERS = (
    "Short.",
    SENTENCE * 3,
    f"# A heading that is longer than forty columns of text\n\n{SENTENCE}\n\n- an item of a list that goes on for "
    "more than a line\n  1. and one within it that does so as well, with its number\n",
    TABLE,
    "```python\ndef double(x):\n    return 2 * x\n```\n",
    "> a quotation of many words that has to be broken somewhere\n>\n> > and another one within that quotation\n",
    "東京は日本の首都です。人口は約千四百万人で、世界でも最も大きな都市のひとつに数えられています。",
    "서울은 대한민국의 수도이며 오래된 궁궐과 새로운 건물이 함께 있는 도시로 많은 사람이 찾아옵니다.",
    "**Bold** and *slanted* and `code` within a sentence which is broken between its words, as all others are.",
    "<think>\nSome thoughts about the question, which take more than one line on a small terminal.\n</think>\n\nDone.",
)
QUESTIONS = (
    "Hi",
    "please tell me something about the ordinary words which are longer than the smaller terminals",
    "東京はどこですか",
)
COMMANDS = (
    "/context", "/stats", "/set", "/set temperature 0.2", "/set temperature", "/system Answer in ordinary words.",
    "/system", "/set max_tokens 20", "/continue", "/set max_tokens none", "/undo", "/retry", "/think", "/sessions",
    "/raw", "/raw", "/model", "/?",
)  # fmt: skip
SIZES = (40, 80, 200)


@pytest.fixture
def person(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Person]:
    script = {"answers": ANSWERS, "n_ctx": 65536}
    with people() as started:
        started.append(at_a_chat(tmp_path, script, "m", "--template", "chatml", columns=request.param))
        yield started[0]


def prompts(person: Person) -> int:
    return sum(line.startswith(">") for line in person.shown())


def turn(person: Person, line: str) -> None:
    """Send a line, and wait for the next prompt."""
    before = prompts(person)
    person.say(line)
    person.prompted(before + 1)


def words_of(lines: Sequence[str]) -> set[str]:
    return {word for line in lines for word in re.findall(r"[A-Za-z]{2,}", line)}


def cut_words(lines: list[str], columns: int, known: set[str]) -> list[str]:
    """Words that go on in the next line, where the two halves are a known word and the first half alone is none."""
    cut = []
    for line, following in pairwise(lines):
        last, first = re.search(r"[A-Za-z]+$", line), re.match(r"[A-Za-z]+", following)
        if last and first and len(line) >= columns - 1 and last[0] + first[0] in known:
            cut.append(f"{line}|{following}")
    return cut


@pytest.mark.slow
@pytest.mark.parametrize("person", SIZES, indirect=True)
def test_forty_exchanges_and_commands(person: Person, tmp_path: Path) -> None:
    columns = person.screen.columns
    person.prompted()
    for number in range(24):
        turn(person, QUESTIONS[number % len(QUESTIONS)])
        if number < len(COMMANDS):
            turn(person, COMMANDS[number])
    saved = next((tmp_path / "llmlocal" / "sessions").glob("*.jsonl")).stem
    turn(person, f"/load {saved}")
    person.paste("line\n" * 30)
    person.until("[pasted 31 lines]")
    turn(person, "")
    person.type("a line that is dropped")
    person.until("> a line that is dropped")
    person.type("\x03")
    person.prompted()
    lines = person.shown()
    assert max(map(len, lines)) <= columns
    known = words_of([*ANSWERS, *QUESTIONS, *COMMANDS])
    assert not cut_words(lines, columns, known)
    shown = words_of(lines)
    assert words_of(ANSWERS[1:3]) <= shown
    assert not any("Traceback" in line for line in lines)
    other = 80 if columns != 80 else 40
    person.size(other)
    person.type("\x0c")  # the screen is drawn anew
    person.until(lambda _: sum(bool(line.strip()) for line in person.screen.display) == 1)
    turn(person, QUESTIONS[1])
    lines = person.screen.display
    assert not cut_words([line.rstrip() for line in lines], other, known)
    person.type("\x04")
    assert person.process.wait(60) == 0
    assert person.modes() == person.before
