"""Measures speculation on real prompts: answers with and without it in turn, which must be the same.

    python tools/bench_speculation.py model.gguf -t 2 --weights copy --peer PYTHON
    python tools/bench_speculation.py model.gguf --wall --minutes 10

Both ways have one engine, and a round is an answer without proposals, two with them, and one without; every answer
begins as the first one of a process, with what reading its prompt took. With --minutes more rounds are made of those
answers for which it is not shown yet that they lose nothing (LIMIT), until all are shown or the time is over. Each line
has the median of the rounds, their quartiles, and what is known of LIMIT; rounds are paired, medians of their ratios.

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
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from paired_rounds import in_doubt, spread, verdict
from speculation_prompts import FORMS, HOT, PROMPTS, TOLD

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
from llmlocal.speculation.speculation import Speculation
from llmlocal.tokenizer import Tokenizer

N_CTX = 2048
PEER = Path(__file__).with_name("speculate_llama_cpp.py")
LIMIT = 0.98  # how many times as fast an answer has to be at least


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
        verify, prefill, run_parts = engine.verify_parts, engine.prefill, engine.run

        def verify_parts(parts: Sequence[tuple[int, Sequence[int]]], outputs: Sequence[int]) -> Any:
            self._now += self.cost(sum(len(part) for _, part in parts))
            return verify(parts, outputs)

        def read(tokens: Sequence[int], seq: int = 0) -> Any:
            self._now += self.cost(len(tokens))
            return prefill(tokens, seq)

        def run(parts: Sequence[tuple[int, Sequence[int]]], outputs: Sequence[int]) -> Any:
            self._now += self.cost(sum(len(part) for _, part in parts))
            return run_parts(parts, outputs)

        engine.verify_parts, engine.prefill, engine.run = verify_parts, read, run

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


class Ways:
    """An engine that answers with proposals and without."""

    def __init__(self, session: Session, clock: Counting | None) -> None:
        self._session, self._clock = session, clock
        self._costs, self._off = session.speculation.decision.costs, decoding.speculation_of(session.engine, "off")
        self.reading = 0.0

    def read(self, prompt: Prompt) -> None:
        """Read a prompt, which takes so long for each of its answers."""
        self._session.engine.truncate(0)
        end = self.plain(Case(prompt, SamplingParams(temperature=0.0), 1)).end
        assert end is not None
        self.reading = end.prefill_seconds

    def plain(self, case: Case, *, singly: bool = False) -> Answer:
        """An answer without proposals; `singly`: also tokens that are certain have a run each."""
        self._use(self._off)
        return answer(self._session, case, self._clock, singly=singly)

    def speculated(self, case: Case) -> Answer:
        """The first answer of a process that knows what runs cost: none before it, nothing gained or lost."""
        vars(self._session).pop("speculation")
        made = self._session.speculation
        made.decision.costs, begin = self._costs, made.begin
        made.begin = lambda ids, seconds=0.0: begin(ids, self.reading)  # type: ignore[method-assign]
        return answer(self._session, case, self._clock)

    def _use(self, speculation: Speculation) -> None:
        vars(self._session)["speculation"] = speculation


@dataclass
class Measured:
    """Rounds of one answer: how many times as fast it is with proposals, after its first token and as a `whole`.

    Also than token by token, where it has a form, and the rates of the peer.
    """

    label: str
    case: Case
    ratios: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    singly: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    theirs: list[tuple[Answer, Answer]] = field(default_factory=list)
    last: Answer | None = None

    def round(self, ways: Ways, peer: Peer | None, seconds: Callable[[Answer], float], *, twice: bool) -> None:
        """One more round; not `twice` where times are counted, which do not differ."""
        case = self.case
        plain, ours = [ways.plain(case)], [ways.speculated(case)]
        alone = [ways.plain(case, singly=True)] if case.grammar else []
        if twice:
            ours.append(ways.speculated(case))
            plain.append(ways.plain(case))
        self.last = ours[-1]
        assert all(some.ids == self.last.ids for some in (*plain, *ours)), "the texts differ"
        alone_mean, mean = (sum(map(seconds, some)) / len(some) for some in (plain, ours))
        self.ratios.append(alone_mean / mean)
        self.whole.append((ways.reading + alone_mean) / (ways.reading + mean))
        self.ours.append((len(self.last.ids) - 1) / mean)
        self.singly += [seconds(each) / (len(each.ids) - 1) * self.ours[-1] for each in alone]
        if peer and case.sampling.temperature == 0 and case.grammar is None and case.sampler is None:
            self.theirs.append((peer.answer(case, lookup=False), peer.answer(case, lookup=True)))

    def told(self, seconds: Callable[[Answer], float]) -> str:
        """What came of it, in a line."""
        assert self.last is not None and self.last.end is not None
        report = self.last.end.speculation
        told = f"{median(self.whole):.2f} with its prompt; {report.accepted} of {report.proposed} accepted"
        told += f", gain by its own count {report.gain:.2f}"
        if report.draft_name:
            told += f" (text {report.ngram.gain:.2f}, {report.draft_name} {report.draft.gain:.2f})"
        if self.theirs:
            rates = [[(len(one.ids) - 1) / seconds(one) for one in some] for some in zip(*self.theirs, strict=True)]
            lengths = "/".join(str(len(each.ids)) for each in self.theirs[0])
            told += f"; {median(self.ours):.1f} tokens/s, llama.cpp {median(rates[0]):.1f}"
            told += f", with its look-up {median(rates[1]):.1f} ({lengths} tokens)"
        if self.singly:
            told += f"; {spread(self.singly)} as fast as token by token"
        known = verdict(self.ratios, LIMIT)
        return f"{self.label} {len(self.last.ids):4} tokens  {known:7} {spread(self.ratios)}  {told}"


def rounds(
    ways: Ways, peer: Peer | None, measured: Sequence[Measured], given: argparse.Namespace, *, counted: bool
) -> None:
    """Measure each answer, and again where it is in doubt and there is time."""
    until, asked = monotonic() + 60 * given.minutes, [*measured]

    def seconds(found: Answer) -> float:
        return found.wall if given.wall else found.cpu

    def visit(each: Measured) -> None:
        ways.read(each.case.prompt)
        for _ in range(1 if counted else given.repeats):
            each.round(ways, peer if len(each.theirs) < given.repeats else None, seconds, twice=not counted)

    for each in measured:
        visit(each)
        print(each.told(seconds), flush=True)
    while monotonic() < until and (asked := [each for each in asked if in_doubt(each.ratios, LIMIT)]):
        print(f"more rounds of {len(asked)} answers", file=sys.stderr, flush=True)
        for each in asked:
            if monotonic() < until:
                visit(each)
    if given.minutes:
        print("\nAfter all rounds:")
        for each in measured:
            print(each.told(seconds))


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
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--costs", nargs="+", type=size_and_cost, default=[], metavar="TOKENS:RUNS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    return parser.parse_args(arguments)


def cases(session: Session, given: argparse.Namespace) -> Mapping[str, Case]:
    """The answers to measure, by their names."""
    found = dict[str, Case]()
    for name in given.only:
        prompt = session.prompt(PromptRequest(PROMPTS[name].encode()))
        grammar = of_schema(FORMS[name]) if name in FORMS else None
        temperatures = (HOT,) if name == "random" else (0.0, 0.7)
        warm = [SamplingParams(temperature=temperatures[-1], seed=seed) for seed in given.seeds]
        samplings = [SamplingParams(temperature=0.0, seed=1)] * (len(temperatures) > 1) + warm
        for each in samplings:
            found[f"{name:11} {f't={each.temperature} {each.seed}':7}"] = Case(prompt, each, given.n, grammar)
        if name in TOLD:
            ids = session.tokenizer.encode(f"```python\n{TOLD[name]}```", add_special=False)
            sampler = Told(ids, min(session.tokenizer.stop_ids))
            found[f"{name:11} told   "] = Case(prompt, samplings[0], len(ids) + 1, sampler=sampler)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    clock = Counting(dict(given.costs)) if given.costs else None
    for module in (decoding, speculation, sessions) if clock else ((decoding,) if not given.wall else ()):
        module.perf_counter = clock or process_time  # type: ignore[attr-defined]
    how: dict[str, Any] = {"n_ctx": N_CTX, "n_threads": given.threads, "weights": given.weights}
    peer = Peer(given.peer, given.model, given.threads) if given.peer else None
    with Session.open(given.model, speculate="auto", draft=given.draft, **how) as session:
        if not given.keep:
            session.speculation.decision.costs = Costs()
        if clock:
            session.speculation.decision.costs = clock.known()
            clock.follow(session.engine)
        costs, ways = session.speculation.decision.costs, Ways(session, clock)
        measured = [Measured(label, case) for label, case in cases(session, given).items()]
        rounds(ways, peer, measured, given, counted=clock is not None)
        for kind in ("ratios", "whole"):
            rate, label = min((median(getattr(each, kind)), each.label) for each in measured)
            print(f"worst{' with its prompt' * (kind == 'whole')}: {rate:.3f} {label}")
        print({size: round(ratio, 2) for size, ratio in costs.measured.items()})
    if peer:
        peer.close()


if __name__ == "__main__":
    sys.exit(main())
