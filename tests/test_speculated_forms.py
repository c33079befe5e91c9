"""Proposals for answers with a form: the text is the same, proposals fit the form, and what does not pay is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_speculation import GREEDY, prompts

from llmlocal.chat_format.prompt import Prompt
from llmlocal.constraints.grammar import of_regex, of_schema
from llmlocal.constraints.matcher import Matcher
from llmlocal.constraints.token_table import byte_table
from llmlocal.generation.events import Event, Finished
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.gguf import open_gguf
from llmlocal.speculation.acceptance import Acceptance
from llmlocal.speculation.costs import Costs
from llmlocal.speculation.decision import Decision
from llmlocal.speculation.ngram import EarlierAnswers, NgramProposer
from llmlocal.speculation.speculation import MOST, Speculation
from llmlocal.tokenizer import load

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
PLACE = {"type": "object", "properties": {"a": {"type": "boolean"}, "bcd": {"enum": ["x", "yz"]}}}
PLACE |= {"required": ["a", "bcd"], "additionalProperties": False}
PLACES = of_schema({"type": "array", "items": PLACE, "minItems": 4, "maxItems": 4})
CONTEXT = 420


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    make_model.make_model("tiny-llama-256", path := tmp_path_factory.mktemp("forms") / "m.gguf", form="Q4_0")
    return path


def answered(
    session: Session, ids: Sequence[int], params: SamplingParams, logprobs: int | None = None
) -> tuple[list[Event], Finished]:
    """An answer that is cut short, and its end; the engine holds no token that is not of it."""
    *made, end = session.answer(
        Prompt("", [*ids], True), max_tokens=60, sampling=params, grammar=PLACES, logprobs=logprobs
    )
    assert isinstance(end, Finished)
    held = session.engine.history()
    assert held == [*ids, *(token.id for token in made)][: len(held)]
    return made, end


@pytest.mark.parametrize("speculate", ["ngram", "auto"])
def test_the_text_is_that_of_plain_decoding(tiny: Path, speculate: str) -> None:
    """Also with log probabilities, for which certain tokens have a row of logits each."""
    params = [GREEDY, *(SamplingParams(temperature=0.8, seed=seed) for seed in range(3))]
    how = {"n_ctx": CONTEXT, "n_threads": 2, "weights": "copy"}
    accepted = 0
    with Session.open(tiny, **how) as plain, Session.open(tiny, speculate=speculate, **how) as other:
        for logprobs in (None, 2):
            for param in params:
                (wanted, _), (got, end) = (answered(s, prompts(1)[0], param, logprobs) for s in (plain, other))
                assert got == wanted and end.valid is False
                accepted += end.speculation.accepted
    assert accepted or speculate == "auto"


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_the_text_of_many_prompts(tiny: Path, threads: int) -> None:
    """200 prompts, a quarter of them for each number of threads, greedy and with five seeds."""
    params = [GREEDY, *(SamplingParams(temperature=0.2 + 0.3 * seed, seed=seed) for seed in range(5))]
    how = {"n_ctx": CONTEXT, "weights": "copy"}
    with (
        Session.open(tiny, n_threads=1, **how) as plain,
        Session.open(tiny, n_threads=threads, speculate="ngram", **how) as other,
    ):
        for ids in prompts(200)[threads - 1 :: 4]:
            for param in params:
                assert answered(other, ids, param)[0] == answered(plain, ids, param)[0]


# ---- what a form says of proposals ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.text("ab0", max_size=12), st.integers(0, 3))
def test_a_form_is_followed_as_far_as_it_allows(tail: str, begun: int) -> None:
    """As a matcher that takes one token after the other says it."""
    grammar = of_regex(r"a(bb|0)*b?aab(0a0a)?")
    matcher = Matcher(byte_table(), grammar.compiled)
    for byte in b"abb"[:begun]:
        matcher.advance(byte)
    ids, other, wanted = list(tail.encode()), matcher.copy(), list[bool]()
    forced: list[int] = []
    for id in ids:
        if not other.allows(id) or (forced and forced[0] != id):
            break
        wanted.append(bool(forced))
        other.advance(id)
        forced = forced[1:] or other.forced()
    assert matcher.follow(ids) == wanted
    assert matcher.follow(ids) == wanted  # nothing was taken


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 12))
def test_what_is_expected_begins_whatever_is_allowed(tiny: Path, seed: int, steps: int) -> None:
    """As the mask of all tokens says it; other tokens may write more or less of it."""
    with open_gguf(tiny) as gguf:
        tokenizer = load(gguf.metadata)
    rng, constraint, seen = np.random.default_rng(seed), PLACES.start(tokenizer), 0
    for _ in range(steps):
        ids = constraint.expected()
        allowed = np.flatnonzero(constraint.masked(np.zeros(tokenizer.n_vocab, np.float32)) == 0).tolist()
        text = b"".join(map(tokenizer.piece, ids))
        assert all(text.startswith(piece) or piece.startswith(text) for piece in map(tokenizer.piece, allowed))
        assert not ids or ids[0] in allowed
        seen += bool(ids)
        for id in constraint.forced() or [int(rng.choice(allowed))]:
            constraint.advance(id)
        if constraint.finished:
            break
    assert seen or not steps


def test_what_agrees_is_counted_since_the_last_certain_token() -> None:
    proposer = NgramProposer(EarlierAnswers())
    proposer.read([1, 2, 3, 4, 5, 6, 7, 1, 2, 3])
    assert proposer.proposes and proposer.agreement == 3
    assert proposer.push(4, certain=True) and proposer.proposes and proposer.agreement == 0
    assert proposer.push(5) and proposer.agreement == 1
    acceptance = Acceptance()
    chance = acceptance.chance(0)
    assert acceptance.chances_among([False, True, False], 9) == [
        acceptance.chance(9),
        acceptance.chance(9),
        acceptance.chance(9) * chance,
    ]


# ---- the decision, by a clock of its own ---------------------------------------------------------------------------

KEYS = 9  # certain tokens of an entry
Entry = tuple[Sequence[int], Sequence[bool]]


def forms(values: Sequence[Sequence[int]]) -> Entry:
    """A text of entries, each with KEYS certain tokens and a value; and which tokens are certain."""
    ids = [id for value in values for id in (*range(1000, 1000 + KEYS), *value)]
    return ids, [id >= 1000 for id in ids]


class Followed:
    """The form of a text from a position on, and what is `expected` there."""

    def __init__(self, certain: Sequence[bool], expected: Sequence[int] = ()) -> None:
        self._certain, self._expected = certain, expected

    def follow(self, ids: Sequence[int]) -> list[bool]:
        return [*self._certain[: len(ids)]]

    def expected(self) -> list[int]:
        return [*self._expected]


def speed(form: Entry, ratio: Callable[[int], float]) -> float:
    """How many times as fast such a text is generated as without proposals, where certain tokens are read at once."""
    (text, certain), rng = form, np.random.default_rng(2)
    speculation = Speculation(Decision(), MOST + 1)
    speculation.begin(text[: KEYS + 3])
    start = at = KEYS + 3
    plain = seconds = 0.0
    for i in range(at, len(text)):  # without proposals each token that was chosen begins a run, with what is certain
        if i == start or not certain[i]:
            end = next((j for j in range(i + 1, len(text)) if not certain[j]), len(text))
            plain += ratio(end - i)
    unread = 1
    while at < len(text):
        proposed = speculation.propose(len(text) - at - 1, before=unread, form=Followed(certain[at:]))
        took, n = ratio(unread + len(proposed)), 0
        while n < len(proposed) and proposed[n] == text[at + n]:
            n += 1
        taken = range(at, at + n + 1)
        for i in taken:
            speculation.took([text[i]], certain=certain[i])
        sure = sum(certain[i] for i in taken)
        seconds += took
        speculation.ran(len(proposed), took * float(rng.normal(1, 0.05)), len(taken), before=unread, certain=sure)
        at, unread = at + len(taken), 1
        while at < len(text) and certain[at]:
            speculation.took([text[at]], certain=True)
            at, unread = at + 1, unread + 1
    return plain / seconds


@pytest.mark.parametrize("slope", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["random", "same", "mixed"])
def test_never_slower_whatever_the_values(kind: str, slope: float) -> None:
    rng = np.random.default_rng(3)
    random = [rng.integers(0, 500, 3).tolist() for _ in range(120)]
    values = {"random": random, "same": [[7, 8, 9]] * 120, "mixed": [[7, *each] for each in random]}[kind]
    gain = speed(forms(values), lambda n: 1 + slope * (n - 1))
    assert gain >= 0.98
    if kind != "random" and slope < 0.3:
        assert gain > 1.2


def test_what_a_form_expects_is_proposed() -> None:
    """With what the text has behind it; where it does not come again and again, it is given up."""
    speculation = Speculation(Decision(Costs({size: 1 + 0.05 * size for size in (2, 16)})), MOST + 1)
    speculation.begin([1, 2, 3])

    def step(*taken: int) -> list[int]:
        proposed = speculation.propose(4, form=Followed([False] * 4, [6, 7]))
        speculation.took([*taken])
        speculation.ran(len(proposed), 1.0 + 0.05 * len(proposed), len(taken))
        return proposed

    for id in range(20, 40):
        first = step(id)
    assert first == []  # it never came
    for id in range(40, 60):
        followed = step(6, 7, id)
    assert followed[:2] == [6, 7]
    always = Speculation(Decision(always=True), MOST + 1)
    always.begin([1, 2, 6, 7, 8, 9, 10, 3])
    assert always.propose(4, form=Followed([False] * 4, [6, 7])) == [6, 7, 8, 9]


def test_the_time_of_a_prompt_is_what_trying_may_cost() -> None:
    """1.5 percent of it, half a token at most; without a prompt the account is empty at first."""
    for seconds, most in ((0.0, 0.11), (10.0, 0.26), (900.0, 0.61)):
        decision = Decision()
        decision.begin(seconds)
        for _ in range(7):
            decision.ran(0, 1.0, 1)
        assert most - 0.02 < decision.account <= most
