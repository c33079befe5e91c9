"""Proposals from the text itself: where its last tokens occurred before, what followed them there may follow again."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 32  # tokens of agreement that are counted
PLACES = 8  # of the latest occurrences of two tokens that are compared


class NgramProposer:
    """Proposes what followed the longest earlier occurrence of the last tokens, at least two of them.

    Pairs of tokens are found by a dictionary. As long as the text goes on as proposed, the place goes on with it and
    nothing is searched.
    """

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._places: dict[tuple[int, int], list[int]] = {}  # where a pair of tokens ended
        self._next = 0  # the position of the token that is proposed, 0 for none
        self.agreement = 0  # how many tokens before it agree with the last ones of the text

    def read(self, ids: Sequence[int]) -> None:
        """Begin with a text; what it shares with the text before is not read again."""
        if self._ids != list(ids[: len(self._ids)]):
            self._ids, self._places = [], {}
        start = len(self._ids)
        self._ids += ids[start:]
        for end in range(max(start, 2), len(self._ids)):
            self._note(end)
        self._search()

    def push(self, id: int) -> bool | None:
        """Append a token. Returns whether it is the one that was proposed, None where none was."""
        proposed = self._ids[self._next] if self._next else None
        self._ids.append(id)
        if len(self._ids) > 2:
            self._note(len(self._ids) - 1)
        if proposed == id:
            self._next += 1
            self.agreement = min(self.agreement + 1, LONGEST)
            return True
        self._search()
        return None if proposed is None else False

    def proposal(self, most: int) -> list[int]:
        """At most `most` tokens that may come next; a text that repeats itself goes on to do so."""
        if not self._next:
            return []
        found = self._ids[self._next : self._next + most]
        period = len(found)
        return [found[i % period] for i in range(most)] if self._next + most > len(self._ids) else found

    def _note(self, end: int) -> None:
        """Remember the pair of tokens before position `end`, so that position `end` can be proposed."""
        places = self._places.setdefault((self._ids[end - 2], self._ids[end - 1]), [])
        places.append(end)
        if len(places) > PLACES:
            del places[0]

    def _search(self) -> None:
        self._next = self.agreement = 0
        if len(self._ids) < 2:
            return
        for place in reversed(self._places.get((self._ids[-2], self._ids[-1]), ())):
            agreement = self._agreement(place)
            if agreement > self.agreement:
                self._next, self.agreement = place, agreement

    def _agreement(self, place: int) -> int:
        """How many tokens before `place` agree with the last ones of the text."""
        ids, most, n = self._ids, min(place, LONGEST), 2
        while n < most and ids[place - 1 - n] == ids[-1 - n]:
            n += 1
        return n
