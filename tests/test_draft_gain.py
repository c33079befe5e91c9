"""What a draft gains in simulated time, and when it rests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from simulated_draft import Clock, SimulatedDraft, random_text

from llmlocal.speculation.decision import Decision
from llmlocal.speculation.draft import FIRST_PIECE, NEAR, PIECE, DraftProposer
from llmlocal.speculation.rest import LONGEST, Rest
from llmlocal.speculation.speculation import MOST, Speculation


def generate(
    speculation: Speculation, clock: Clock, text: Sequence[int], depth: int, ratio: Callable[[int], float]
) -> float:
    """How many times as fast a text is generated after `depth` tokens as token by token, in runs of one second."""
    speculation.begin(text[:depth], depth / 4)
    at, begun = depth, clock.now
    while at < len(text):
        proposed = speculation.propose(len(text) - at - 1, text[:at], lambda logits, ids: 0)
        took, hits = ratio(1 + len(proposed)), 0
        while hits < len(proposed) and proposed[hits] == text[at + hits]:
            hits += 1
        clock.now += took
        taken, at = text[at : at + hits + 1], at + hits + 1
        speculation.took(taken)
        speculation.ran(len(proposed), took, len(taken))
    speculation.end()
    return (len(text) - depth) / (clock.now - begun)


def simulated(
    text: Sequence[int], ratio: Callable[[int], float], right: float, token: float, depth: int = 300, read: float = 0.0
) -> tuple[float, Speculation, SimulatedDraft]:
    """A first answer: its gain, and what made it."""
    clock = Clock()
    draft = SimulatedDraft(clock, text, right, token, read or token / 4)
    speculation = Speculation(Decision(), MOST + 1, draft=DraftProposer(draft, clock))
    return generate(speculation, clock, text, depth, ratio), speculation, draft


@pytest.mark.parametrize("slope", [0.02, 0.3])
@pytest.mark.parametrize("token", [0.05, 0.15])
@pytest.mark.parametrize("right", [0.6, 0.95])
def test_the_gain_of_a_draft_is_what_is_predicted(slope: float, token: float, right: float) -> None:
    """Within 15 % of the best number of tokens for a chance that never changes; never slower than 0.98."""
    chances = np.cumprod([right] * MOST)
    costs = np.array([1 + slope * n + token * n for n in range(1, MOST + 1)])
    best = max(1.0, ((1 + np.cumsum(chances)) / costs).max())
    gain, speculation, _ = simulated(random_text(1600), lambda n: 1 + slope * (n - 1), right, token)
    assert gain >= max(0.98, 0.85 * best), (gain, best)
    report = speculation.report
    assert report.gain == pytest.approx(gain, rel=0.03)
    assert report.draft.proposed or best < 1.1


@pytest.mark.parametrize("slope", [0.02, 1.0])
@pytest.mark.parametrize("token", [0.05, 0.2, 1.0])
def test_a_draft_that_is_never_right_rests(slope: float, token: float) -> None:
    gain, speculation, _ = simulated(random_text(1300), lambda n: 1 + slope * (n - 1), 0.0, token)
    assert gain >= 0.98 and speculation.report.draft.proposed < 30
    assert speculation.report.draft.gain <= 1.0


def test_a_draft_that_was_wrong_is_tried_again() -> None:
    """It rests once nothing is expected of it any more, and is then taken for better again, in a later answer."""
    clock = Clock()
    draft = SimulatedDraft(clock, (), 0.0, 0.05, 0.001)
    speculation = Speculation(Decision(), MOST + 1, draft=DraftProposer(draft, clock))
    counts, gains = [], []
    for answer in range(16):
        draft.text, draft.held = random_text(500, answer), 0
        draft.right = 0.0 if answer < 10 else 0.95
        gains.append(generate(speculation, clock, draft.text, 300, lambda n: 1 + 0.3 * (n - 1)))
        counts.append(speculation.report.draft.proposed)
    assert min(gains[:10]) > 0.97 and sum(counts[5:10]) < 10 and max(gains[10:]) > 1.5, (counts, gains)


def test_reading_a_long_prompt_is_bounded() -> None:
    """It is read in pieces, for a part of the time that the model took, and not at all where that is too little."""
    gain, _, draft = simulated(random_text(1300), lambda n: 1 + 0.05 * (n - 1), 0.9, 0.1, depth=1000, read=0.01)
    assert draft.read_tokens >= 1000 - NEAR - 1 > PIECE and gain > 1.5
    _, speculation, draft = simulated(random_text(1300), lambda n: 1 + 0.05 * (n - 1), 0.9, 0.1, depth=1000, read=2.0)
    assert draft.read_tokens == FIRST_PIECE and speculation.report.gain > 0.85


def test_texts_that_repeat_themselves_are_left_to_the_text() -> None:
    """The proposer with the better speed is chosen."""
    text = np.resize(random_text(300), 1600).tolist()
    gain, speculation, _ = simulated(text, lambda n: 1 + 0.05 * (n - 1), 0.6, 0.2)
    report = speculation.report
    assert report.ngram.accepted > 10 * max(report.draft.accepted, 1) and gain > 5


def test_a_rest_becomes_no_longer_than_the_longest() -> None:
    rest, runs = Rest(), 0
    assert not rest
    for _ in range(20):
        rest.begin()
    while rest:
        runs += 1
        assert rest.ran(0.0) == (runs == LONGEST)
    assert runs == LONGEST
