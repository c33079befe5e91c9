"""How many questions the guide answers rightly: those written by hand, held-out wordings, and what is not its subject.

    python tools/guide/evaluate.py llmlocal/guide/guide.gguf other.gguf -v

Right means that the right command stands in the answer. Runs llmlocal itself; knows nothing of training.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import corpus

from llmlocal.chat_format.prompt import PromptRequest
from llmlocal.generation.events import Token
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session

BY_HAND = {
    "by hand": Path(__file__).parents[2] / "tests/guide_questions.toml",
    "added": Path(__file__).parents[2] / "tests/guide_questions_added.toml",
    "development": Path(__file__).parent / "development.toml",
}
LONGEST = 160  # tokens of an answer


@dataclass(frozen=True)
class Case:
    """A question; `right` are texts of which the answer must have one, `exact` the whole answer where it is known."""

    kind: str
    ask: str
    right: list[str]
    exact: str = ""


def cases() -> Iterator[Case]:
    """All questions, those written by hand first."""
    for kind, file in BY_HAND.items():
        for person in tomllib.loads(file.read_text())["person"]:
            yield from (Case(kind, question["ask"], question["right"]) for question in person["questions"])
    for ask, command, answer in corpus.held_out():
        yield Case("held out", ask, [command], answer)


def answers(model: Path) -> Callable[[str], str]:
    """What answers one question, greedily, without a conversation before it."""
    session, greedy = Session.open(model), SamplingParams(temperature=0.0)

    def answer(question: str) -> str:
        events = session.answer(session.prompt(PromptRequest(question.encode())), max_tokens=LONGEST, sampling=greedy)
        return "".join(event.text for event in events if isinstance(event, Token))

    return answer


def evaluate(model: Path, verbose: bool, only: str | None = None) -> dict[str, float]:
    """Share of right answers by kind, of all kinds or of one; those that are wrong are printed where wanted."""
    ask, right, whole, count = answers(model), dict[str, int](), dict[str, int](), dict[str, int]()
    known = set(corpus.answers())
    for case in cases():
        if case.kind != (only or case.kind):
            continue
        said = ask(case.ask)
        good = any(text in said for text in case.right)
        count[case.kind] = count.get(case.kind, 0) + 1
        right[case.kind] = right.get(case.kind, 0) + good
        whole[case.kind] = whole.get(case.kind, 0) + (said in known)
        if verbose and not good:
            print(f"{case.kind}: {case.ask}\n    wanted {' or '.join(case.right)}\n    said   {said}")
    for kind, n in count.items():
        share, exact = f"{right[kind]} of {n} right ({right[kind] / n:.1%})", f"{whole[kind]} known word for word"
        print(f"{model.name}: {kind}: {share}, {exact}")
    return {kind: right[kind] / n for kind, n in count.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    for path in options.models:
        evaluate(path, options.verbose)
