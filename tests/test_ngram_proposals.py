"""Proposals from the text itself and from earlier answers: which place they follow, and how far."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocal.speculation.ngram import LONGEST, MOST_EARLIER, EarlierAnswers, NgramProposer


def longest(ids: Sequence[int]) -> tuple[int, set[int]]:
    """Agreement of the best earlier places, by comparing all of them, and what followed where the last token was."""
    best, followers = 0, set[int]()
    for place in range(1, len(ids)):
        n = 0
        while n < min(place, LONGEST) and ids[place - 1 - n] == ids[-1 - n]:
            n += 1
        best = max(best, n)
        if n:
            followers.add(ids[place])
    return best, followers


@settings(max_examples=40)
@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=20))
def test_proposals_follow_a_place_that_agrees(prompt: list[int], answer: list[int]) -> None:
    """A proposal is doubtful only where different tokens followed."""
    proposer, ids = NgramProposer(EarlierAnswers()), list(prompt)
    proposer.read(prompt)
    for id in [*answer, 0]:
        best, followers = longest(ids)
        first = proposer.proposal(1)
        assert proposer.proposes == (best > 0) and set(first) <= followers
        assert proposer.agreement <= best and (proposer.agreement or len(followers) != 1)
        assert len(proposer.proposal(9)) == (9 if first else 0)
        assert proposer.push(id) == (first == [id] if first else None)
        ids.append(id)


def test_places_that_go_on_differently_are_doubtful() -> None:
    proposer = NgramProposer(EarlierAnswers())
    proposer.read([1, 2, 3, 1, 2, 4, 1, 2])
    assert (proposer.proposal(1), proposer.agreement) == ([4], 0)
    assert [proposer.push(4), proposer.agreement] == [True, 3]
    proposer.read([5, 1, 2, 3, 6, 1, 2, 4, 5, 1, 2])
    assert (proposer.proposal(1), proposer.agreement) == ([3], 3)


def test_a_text_that_repeats_itself_is_proposed_on_and_on() -> None:
    proposer = NgramProposer(EarlierAnswers())
    proposer.read([9, 1, 2, 3, 1, 2, 3, 1, 2])
    assert proposer.proposal(7) == [3, 1, 2, 3, 1, 2, 3]
    proposer.read([9, 1, 2, 3, 1, 2, 3, 1, 2, 3, 8])
    assert proposer.proposal(3) == []
    proposer.read([4, 5, 6, 4, 5])
    assert proposer.proposal(2) == [6, 4]


def test_earlier_answers_are_proposed_up_to_their_ends() -> None:
    earlier = EarlierAnswers()
    earlier.add([4, 5, 6, 7])
    earlier.add([8, 9, 5, 1])
    proposer = NgramProposer(earlier)
    proposer.read([1, 2, 4, 5])
    assert proposer.from_earlier and proposer.proposal(9) == [6, 7]
    assert [proposer.push(6), proposer.proposal(9), proposer.push(7)] == [True, [7], True]
    assert proposer.agreement == 0 and proposer.proposal(9) == []
    proposer.read([7, 8, 9])
    assert proposer.proposal(1) == [5] and proposer.push(6) is False
    earlier.add([3] * MOST_EARLIER)
    proposer.read([4, 5])
    assert not proposer.agreement and len(earlier.text.ids) == MOST_EARLIER + 1
