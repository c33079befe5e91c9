"""Measures speculation on real prompts: answers with and without it in turn, which must be the same.

    python tools/bench_speculation.py model.gguf -t 2 --weights copy --peer PYTHON

Times are CPU seconds of the process over its threads (--wall: of the clock), also those by which it is decided what to
propose, so that other work on the machine counts less. Costs of runs are those of all answers before; earlier answers
are not proposed, and costs that were measured in other processes are used only with --keep. --draft names a draft for
the speculation. With --costs 2:1.1 4:1.5 8:2.5 16:3.8 no time is measured: runs of so many tokens count as so many of
one, with lines between, which is exact beside any other work; masks and decisions cost nothing then. --peer is an
interpreter with llama-cpp-python, whose n-gram look-up answers the greedy prompts in turn with ours; rates are in
tokens a second, and say nothing where its answer has only a few tokens.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmlocal.chat_format.prompt import Prompt, PromptRequest
from llmlocal.constraints.grammar import Grammar, of_schema
from llmlocal.constraints.matcher import Matcher
from llmlocal.constraints.token_table import table_of
from llmlocal.generation import decoding
from llmlocal.generation import session as sessions
from llmlocal.generation.events import Finished, Token
from llmlocal.generation.sampler import Sampler, SamplingParams
from llmlocal.generation.session import Session
from llmlocal.speculation import speculation
from llmlocal.speculation.costs import Costs
from llmlocal.tokenizer import Tokenizer

N_CTX = 2048
PEER = Path(__file__).with_name("speculate_llama_cpp.py")
TEXT = Path(__file__).with_name("quoted_text.txt").read_text()  # of its own, so that rates of different days compare
CODE = """def total_price(items):
    total = 0
    for item in items:
        if item.price is not None:
            total += item.price * item.count
    return total


def total_weight(items):
    total = 0
    for item in items:
        if item.weight is not None:
            total += item.weight * item.count
    return total
"""
LETTER = """Anna, please ask Tom to send the three signed contracts to the Berlin office before Friday. Maria will check
the invoice numbers 4711, 4712 and 4713. If anything is missing, call me on Thursday afternoon. Regards, Peter"""
PROMPTS = {
    "quote": f"Repeat this text word for word:\n\n{TEXT}",
    "edit": f"Rewrite this code with the variable total renamed to result, and show all of it:\n\n{CODE}",
    "types": f"Add type hints to the functions, and show all of the code:\n\n{CODE}",
    "docstrings": f"Add a docstring to each function, and show all of the code:\n\n{CODE}",
    "summary": f"Summarize this text in five sentences:\n\n{TEXT}",
    "points": f"List the most important points of this text:\n\n{TEXT}",
    "title": f"Write a title and an abstract for this text:\n\n{TEXT}",
    "list": "Count from 1 to 60, one number per line.",
    # A question of each category of MT-bench (Zheng et al. 2023, arXiv 2306.05685), in other words.
    "writing": "Write a story about a dragon and a knight.",
    "roleplay": "You are the captain of a ship in a storm. Speak to your crew.",
    "reasoning": "David has three sisters, and each of them has one brother. How many brothers does David have?",
    "math": "A train travels 60 km in 45 minutes. How far does it travel in three hours? Explain each step.",
    "coding": "Write a Python function that finds the longest word that two texts have in common.",
    "extraction": f"Name all people, places and numbers in this letter:\n\n{LETTER}",
    "stem": "Why is the sky blue, and why is it red in the evening?",
    "humanities": "How did the printing press change Europe?",
    "random": "Write words without order or sense.",
    "json": "Describe three planets as JSON.",
    "json-letter": f"Who has to do what, according to this letter? Answer as JSON.\n\n{LETTER}",
    "json-text": f"Describe the sections of this text as JSON.\n\n{TEXT}",
}
# Right answers, for models that are too small to edit: they are chosen whatever the logits say.
TOLD = {
    "edit": re.sub(r"\btotal\b", "result", CODE),
    "types": CODE.replace("(items):", "(items: list[Item]) -> float:"),
    "docstrings": CODE.replace("price(items):", 'price(items):\n    """The price of all items."""').replace(
        "weight(items):", 'weight(items):\n    """The weight of all items."""'
    ),
}
HOT = 1.5  # the temperature of the text without order, in place of the others


def schema_of(count: int, **properties: dict[str, Any]) -> dict[str, Any]:
    """A list of `count` objects that have all `properties`."""
    item = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {"type": "array", "items": item, "minItems": count, "maxItems": count}


SHORT_TEXT, FLAG = {"type": "string", "maxLength": 24}, {"type": "boolean"}
FORMS = {
    "json": schema_of(
        3,
        name={"type": "string", "maxLength": 12},
        distance_from_the_sun_in_kilometres={"type": "integer", "maximum": 9999999999},
        has_an_atmosphere=FLAG,
        number_of_known_moons={"type": "integer", "maximum": 999},
    ),
    "json-letter": schema_of(4, person=SHORT_TEXT, task={"type": "string", "maxLength": 60}, is_urgent=FLAG),
    "json-text": schema_of(3, heading=SHORT_TEXT, commands={"type": "array", "items": SHORT_TEXT, "maxItems": 3}),
}


class Counting:
    """A clock that the runs of engines advance, by what runs of so many tokens are said to cost in `costs`."""

    def __init__(self, costs: dict[int, float]) -> None:
        self._costs, self._now = {1: 1.0, **costs}, 0.0

    def __call__(self) -> float:
        return self._now

    def cost(self, tokens: int) -> float:
        """A run of more than are known costs as much for each token as the largest."""
        known = sorted(self._costs)
        more = max(tokens / known[-1], 1.0)
        return more * float(np.interp(tokens, known, [self._costs[size] for size in known]))

    def follow(self, engine: Any) -> None:
        """Count the runs of an engine."""
        verify, prefill = engine.verify_parts, engine.prefill

        def verify_parts(parts: Sequence[tuple[int, Sequence[int]]], outputs: Sequence[int]) -> Any:
            self._now += self.cost(sum(len(part) for _, part in parts))
            return verify(parts, outputs)

        def read(tokens: Sequence[int], seq: int = 0) -> Any:
            self._now += self.cost(len(tokens))
            return prefill(tokens, seq)

        engine.verify_parts, engine.prefill, engine.decode = verify_parts, read, lambda id, seq=0: read([id], seq)

    def known(self) -> Costs:
        """The costs as they are known after many runs."""
        costs = Costs()
        for size in (1, *range(1, 17)) * 9:
            costs.took(size, self.cost(size))
        return costs


class Answer(NamedTuple):
    """The ids of an answer, its seconds after the first token, of CPU and of the clock, and how it ended."""

    ids: list[int]
    cpu: float
    wall: float
    end: Finished | None = None


class EachChosen(Matcher):
    """A form in which no token is certain, so that each is chosen from logits, as in llama.cpp."""

    def forced(self) -> list[int]:
        return []


class Singly(Grammar):
    """A grammar whose tokens have a run each."""

    def start(self, tokenizer: Tokenizer) -> Matcher:
        return EachChosen(table_of(tokenizer), self.compiled)


class Told(Sampler):
    """Chooses the tokens `told`, then `end`."""

    def __init__(self, told: Sequence[int], end: int) -> None:
        super().__init__(SamplingParams(temperature=0.0))
        self._told = *told, end

    def sample(self, logits: NDArray[np.float32], history: Sequence[int], step: int) -> int:
        return self._told[step]


class Case(NamedTuple):
    """One answer to measure."""

    prompt: Prompt
    sampling: SamplingParams
    n: int
    grammar: Grammar | None = None
    sampler: Sampler | None = None


def answer(session: Session, case: Case, clock: Counting | None = None, *, singly: bool = False) -> Answer:
    """An answer; `singly`: also tokens that are certain have a run each."""
    grammar = Singly(*case.grammar) if singly and case.grammar else case.grammar
    how = {"max_tokens": case.n, "sampling": case.sampling, "sampler": case.sampler}
    events = session.answer(case.prompt, grammar=grammar, **how)
    ids, cpu, wall, end = [], 0.0, 0.0, None
    cpu_clock, wall_clock = clock or process_time, clock or perf_counter
    for event in events:
        if isinstance(event, Token):
            ids.append(event.id)
            if len(ids) == 1:
                cpu, wall = cpu_clock(), wall_clock()
        elif isinstance(event, Finished):
            end = event
    return Answer(ids, cpu_clock() - cpu, wall_clock() - wall, end)


class Peer:
    """llama.cpp in a process of its own."""

    def __init__(self, python: str, model: Path, threads: int) -> None:
        command = [python, str(PEER), str(model), str(threads), str(N_CTX)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self, case: Case, *, lookup: bool) -> Answer:
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"ids": list(case.prompt.ids), "n": case.n, "lookup": lookup}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return Answer(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


def fresh(session: Session) -> Session:
    """A session as at its start, but for what runs cost: no earlier answers, nothing gained or lost."""
    costs = session.speculation.decision.costs
    del vars(session)["speculation"]
    session.speculation.decision.costs = costs
    return session


def compared(
    plain: Session, other: Session, peer: Peer | None, case: Case, given: argparse.Namespace, clock: Counting | None
) -> tuple[float, str]:
    """Medians of a case: how many times as fast it is with proposals; the same with what they did, and other rates."""
    ratios, ours, theirs, alone = list[float](), list[float](), list[tuple[Answer, Answer]](), list[float]()

    def rate(found: Answer) -> float:
        return (len(found.ids) - 1) / (found.wall if given.wall else found.cpu)

    for _ in range(given.repeats):
        one, two = answer(plain, case, clock), answer(fresh(other), case, clock)
        assert one.ids == two.ids, "the texts differ"
        if case.grammar:
            alone.append(rate(two) / rate(answer(plain, case, clock, singly=True)))
        ratios.append(rate(two) / rate(one))
        ours.append(rate(two))
        if peer and case.sampling.temperature == 0 and case.grammar is None and case.sampler is None:
            theirs.append((peer.answer(case, lookup=False), peer.answer(case, lookup=True)))
    assert two.end is not None
    report = two.end.speculation
    told = f"{report.accepted} of {report.proposed} accepted, gain by its own count {report.gain:.2f}"
    if report.draft_name:
        told += f" (text {report.ngram.gain:.2f}, {report.draft_name} {report.draft.gain:.2f})"
    if theirs:
        single, lookup = (median(map(rate, some)) for some in zip(*theirs, strict=True))
        lengths = "/".join(str(len(each.ids)) for each in theirs[0])
        told += (
            f"; {median(ours):.1f} tokens/s, llama.cpp {single:.1f}, with its look-up {lookup:.1f} ({lengths} tokens)"
        )
    if alone:
        told += f"; {median(alone):.2f} x as fast as token by token"
    return median(ratios), f"{len(two.ids):4} tokens  {median(ratios):.2f} x  {told}"


def size_and_cost(text: str) -> tuple[int, float]:
    """8:2.5 as (8, 2.5)."""
    size, cost = text.split(":")
    return int(size), float(cost)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-n", type=int, default=160)
    parser.add_argument("-r", "--repeats", type=int, default=3)
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--draft")
    parser.add_argument("--peer")
    parser.add_argument("--only", nargs="+", choices=PROMPTS, default=[*PROMPTS])
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--costs", nargs="+", type=size_and_cost, default=[], metavar="TOKENS:RUNS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    clock = Counting(dict(given.costs)) if given.costs else None
    for module in (decoding, speculation, sessions) if clock else ((decoding,) if not given.wall else ()):
        module.perf_counter = clock or process_time  # type: ignore[attr-defined]
    how: dict[str, Any] = {"n_ctx": N_CTX, "n_threads": given.threads, "weights": given.weights}
    peer = Peer(given.peer, given.model, given.threads) if given.peer else None
    with (
        Session.open(given.model, **how) as plain,
        Session.open(given.model, speculate="auto", draft=given.draft, **how) as other,
    ):
        if not given.keep:
            other.speculation.decision.costs = Costs()
        if clock:
            other.speculation.decision.costs = clock.known()
            for session in (plain, other):
                clock.follow(session.engine)
        gains = dict[str, float]()
        for name in given.only:
            prompt = plain.prompt(PromptRequest(PROMPTS[name].encode()))
            grammar = of_schema(FORMS[name]) if name in FORMS else None
            temperatures = (HOT,) if name == "random" else (0.0, 0.7)
            warm = [SamplingParams(temperature=temperatures[-1], seed=seed) for seed in given.seeds]
            samplings = [SamplingParams(temperature=0.0, seed=1)] * (len(temperatures) > 1) + warm
            cases = {f"t={each.temperature} {each.seed}": Case(prompt, each, given.n, grammar) for each in samplings}
            if name in TOLD:
                ids = plain.tokenizer.encode(f"```python\n{TOLD[name]}```", add_special=False)
                sampler = Told(ids, min(plain.tokenizer.stop_ids))
                cases["told"] = Case(prompt, samplings[0], len(ids) + 1, sampler=sampler)
            for kind, case in cases.items():
                label = f"{name:11} {kind:7}"
                gains[label], said = compared(plain, other, peer, case, given, clock)
                print(f"{label}  {said}", flush=True)
        print(f"worst: {min((gain, label) for label, gain in gains.items())}")
        print({size: round(ratio, 2) for size, ratio in other.speculation.decision.costs.measured.items()})
    if peer:
        peer.close()


if __name__ == "__main__":
    sys.exit(main())
