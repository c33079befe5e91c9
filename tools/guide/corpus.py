"""Conversations to learn from: the facts in many wordings, small talk, stories, and what the guide does not know.

    python tools/guide/corpus.py 20        # prints twenty of them

Knows the facts' files and how questions vary. Knows no tokens and no network. Everything follows from a seed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

import stories
from grammar import noisy, spoken

HERE = Path(__file__).parent
Turn = tuple[str, str]  # a question and its answer


@dataclass(frozen=True, eq=False)
class Topic:
    """One thing to know. A `case` fills the <words> of its answer, command and questions."""

    name: str
    answer: str
    command: str
    do: list[str] = field(default_factory=list)
    what: list[str] = field(default_factory=list)
    ask: list[str] = field(default_factory=list)
    held_do: list[str] = field(default_factory=list)
    held_what: list[str] = field(default_factory=list)
    held_ask: list[str] = field(default_factory=list)
    undo: str = ""
    more: str = ""
    plain: bool = False  # no frames of politeness around it
    cases: list[dict[str, str]] = field(default_factory=list)

    def filled(self, text: str, case: dict[str, str]) -> str:
        """`text` with the words of `case` in place."""
        for key, value in case.items():
            text = text.replace(f"<{key}>", value)
        return text


@cache
def frames() -> dict[str, Any]:
    """frames.toml: sentences around topics, and named patterns."""
    return tomllib.loads((HERE / "frames.toml").read_text())


@cache
def turns() -> dict[str, Any]:
    """turns.toml: questions that point back, and system prompts."""
    return tomllib.loads((HERE / "turns.toml").read_text())


@cache
def other() -> dict[str, Any]:
    """other.toml: what is not llmlocal."""
    return tomllib.loads((HERE / "other.toml").read_text())


@cache
def topics() -> tuple[Topic, ...]:
    """All topics of facts/*.toml in the order of their files."""
    files = sorted((HERE / "facts").glob("*.toml"))
    return tuple(Topic(name, **entry) for file in files for name, entry in tomllib.loads(file.read_text()).items())


def answers() -> Iterator[str]:
    """Every answer that the guide can learn, once."""
    seen = dict.fromkeys([other()["answer"], turns()["nothing_before"], *map(stories.story, stories.data()["heroes"])])
    seen.update(dict.fromkeys(text for topic in topics() if not topic.more and (text := fallback(topic, "more"))))
    for topic in topics():
        for case in topic.cases or [{}]:
            seen.update(
                dict.fromkeys(topic.filled(text, case) for text in (topic.answer, topic.undo, topic.more) if text)
            )
    return iter(seen)


def question(topic: Topic, rng: Random) -> Turn:
    """A question on `topic` as somebody may type it, never in a held-out wording, and its answer."""
    kinds = (
        [("do", 5)] * bool(topic.do)
        + [("what", 2)] * bool(topic.what)
        + [("ask", 4 if topic.do else 5)] * bool(topic.ask)
    )
    kind = rng.choices([k for k, _ in kinds], [weight for _, weight in kinds])[0]
    pattern = rng.choice(getattr(topic, kind))
    if kind != "ask":
        pattern = rng.choice(frames()[kind]).replace("X", pattern)
    case = rng.choice(topic.cases) if topic.cases else {}
    typed = {key: rng.choice((value, value, value.lower())) for key, value in case.items()}
    text = topic.filled(spoken(pattern, frames()["words"], rng), typed)
    return ended(noisy(text if topic.plain else framed(text, rng), rng), rng), topic.filled(topic.answer, case)


def framed(text: str, rng: Random) -> str:
    """`text` with what people say before and after a question, and sometimes in the midst of it."""
    if rng.random() < 0.15:
        words = text.split()
        for word in rng.choices(frames()["filler"], k=rng.choice((1, 1, 2, 3, 4))):
            words.insert(rng.choice((0, len(words), rng.randint(0, len(words)))), word)
        text = " ".join(words)
    if rng.random() < 0.25:
        text = f"{spoken(rng.choice(frames()['before']), {}, rng)} {text}"
    if rng.random() < 0.20:
        said = spoken(rng.choice(frames()["after"]), {}, rng)
        text += said if said[0] in ",!" else f" {said}"
    return text


def ended(text: str, rng: Random) -> str:
    """`text` with a sign at its end, or none."""
    if text[-1:].isalnum():
        text += rng.choices(("?", "", ".", "!", "??", " ?"), (48, 40, 6, 3, 2, 1))[0]
    return text


def unknown(rng: Random) -> Turn:
    """A question on anything but llmlocal, or no question at all."""
    data, draw = other(), rng.random()
    if draw < 0.06:
        text = rng.choice(data["gibberish"])
    elif draw < 0.16:
        text = " ".join(
            "".join(rng.choices(ascii_lowercase + ("0123456789" if rng.random() < 0.2 else ""), k=rng.randint(1, 11)))
            for _ in range(rng.randint(1, 7))
        )
    else:
        text = spoken(rng.choice(data["ask"]), data["words"], rng)
        text = framed(text, rng) if rng.random() < 0.6 else text
    return ended(noisy(text, rng), rng), data["answer"]


def tale(rng: Random) -> Turn:
    """Somebody asks for a story."""
    pattern, hero = stories.asked(rng)
    return ended(noisy(spoken(pattern, {}, rng), rng), rng), stories.story(hero)


def turn(rng: Random) -> tuple[Turn, Topic | None]:
    """One question and answer, and its topic where it has one."""
    draw = rng.random()
    if draw < 0.15:
        return unknown(rng), None
    if draw < 0.19:
        return tale(rng), None
    if draw < 0.20:
        return (ended(spoken(rng.choice(turns()["again"]), {}, rng), rng), turns()["nothing_before"]), None
    every = topics()
    topic = rng.choices(every, [weight(topic) for topic in every])[0]
    return question(topic, rng), topic


@cache
def weight(topic: Topic) -> float:
    """How often a topic comes: those with many wordings and cases oftener, none rarely."""
    wordings = sum(pattern.count("|") + 1 for kind in (topic.do, topic.what, topic.ask) for pattern in kind)
    return (wordings**0.5) * max(1.0, len(topic.cases) ** 0.4)


def conversation(rng: Random) -> list[Turn]:
    """One conversation: most are short, some of many turns, with questions that point back."""
    length = rng.choices((1, 2, 3, 6, 14), (900, 75, 20, 4, 1))[0]
    done: list[Turn] = []
    while len(done) < length:
        (asked, answer), topic = turn(rng)
        done.append((asked, answer))
        if length == 1 and topic and (topic.undo or topic.more) and rng.random() < 0.2:
            length = 2
        if len(done) < length and rng.random() < 0.5:
            done += follow_up(done, topic, rng)
    return done


def follow_up(done: list[Turn], topic: Topic | None, rng: Random) -> list[Turn]:
    """A question that only the one before explains, if there is an answer to it."""
    kind = rng.choice(("undo", "more", "undo", "more", "again"))
    if kind == "again":
        return (
            [(ended(noisy(spoken(rng.choice(turns()["again"]), {}, rng), rng), rng), done[-1][1])]
            if len(done[-1][1]) < 260
            else []
        )
    text = getattr(topic, kind) if topic else ""
    if not text:
        text = fallback(topic, kind)
    if not text:
        return []
    return [(ended(noisy(spoken(rng.choice(turns()[kind]), {}, rng), rng), rng), text)]


def fallback(topic: Topic | None, kind: str) -> str:
    """What can be said to a question that points back where the topic has nothing of its own."""
    if kind == "undo":
        return next(other.answer for other in topics() if other.name == "undo")
    named = re.search(r"`llmlocal ([a-z]+)", topic.answer) if topic else None
    return f"`llmlocal {named[1]} --help` lists all its options." if named else ""


def held_out(seed: int = 2026) -> Iterator[tuple[str, str, str]]:
    """Questions in wordings that training never sees: (question, right command, answer), a few for each topic."""
    rng = Random(seed)
    for topic in topics():
        patterns = [rng.choice(frames()["do"] + frames()["held_do"]).replace("X", held) for held in topic.held_do]
        patterns += [
            held.replace("X", rng.choice(topic.do)) for held in rng.sample(frames()["held_do"], 2 if topic.do else 0)
        ]
        patterns += [held.replace("X", rng.choice(topic.what)) for held in frames()["held_what"][: len(topic.what)]]
        for pattern in patterns + topic.held_ask:
            case = rng.choice(topic.cases) if topic.cases else {}
            text = topic.filled(spoken(pattern, frames()["words"], rng), case)
            yield text + "?" * (rng.random() < 0.6), topic.filled(topic.command, case), topic.filled(topic.answer, case)


def commands(answer: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]*)`", answer)


if __name__ == "__main__":
    generator = Random(1)
    for _ in range(int(sys.argv[1])):
        print(*(f"> {question}\n{answer}" for question, answer in conversation(generator)), "", sep="\n")
