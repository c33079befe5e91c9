"""Proposals from texts: where the last tokens occurred before, what followed them there may follow again."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 32  # tokens of agreement that are counted
PLACES = 8  # of the latest occurrences of two tokens that are compared
END = -1  # in the place of a token between two texts
MOST_EARLIER = 1 << 14  # tokens of earlier answers that are kept


class Text:
    """Tokens, and where each pair of them occurred."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._places: dict[tuple[int, int], list[int]] = {}

    def append(self, id: int) -> None:
        """One more token, which follows the pair before it."""
        self.ids.append(id)
        if len(self.ids) > 2 and id != END:
            places = self._places.setdefault((self.ids[-3], self.ids[-2]), [])
            places.append(len(self.ids) - 1)
            if len(places) > PLACES:
                del places[0]

    def extend(self, ids: Sequence[int]) -> None:
        """More tokens."""
        for id in ids:
            self.append(id)

    def best_place(self, last: Sequence[int]) -> tuple[int, int]:
        """The position after the place that agrees with most of the tokens `last`, and with how many; or 0, 0."""
        best = 0, 0
        for place in reversed(self._places.get((last[-2], last[-1]), ())) if len(last) > 1 else ():
            most, n = min(place, len(last), LONGEST), 2
            while n < most and self.ids[place - 1 - n] == last[-1 - n]:
                n += 1
            if n > best[1]:
                best = place, n
        return best


class EarlierAnswers:
    """The answers before this one; when there are too many, a new text begins with the next."""

    def __init__(self) -> None:
        self.text = Text()

    def add(self, ids: Sequence[int]) -> None:
        """One more answer."""
        if len(self.text.ids) + len(ids) > MOST_EARLIER:
            self.text = Text()
        self.text.extend([END, *ids[:MOST_EARLIER]])


class NgramProposer:
    """Proposes what followed the longest earlier occurrence of the last tokens, at least two of them.

    It is looked for in the text itself and in `earlier` answers. As long as the text goes on as proposed, the place
    goes on with it and nothing is searched.
    """

    def __init__(self, earlier: EarlierAnswers) -> None:
        self._text, self._earlier = Text(), earlier
        self._source: Text = self._text
        self._next = 0  # the position in `_source` of the token that is proposed, 0 for none
        self._agreement = 0  # how many tokens before it agree with the last ones of the text
        self._chosen = LONGEST  # how many of the last tokens were chosen: what agrees otherwise says little

    def read(self, ids: Sequence[int]) -> None:
        """Begin with a text; what it shares with the text before is not read again."""
        if self._text.ids != list(ids[: len(self._text.ids)]):
            self._text = Text()
        self._text.extend(ids[len(self._text.ids) :])
        self._chosen = LONGEST
        self._search()

    @property
    def from_earlier(self) -> bool:
        """Whether the proposal comes from an earlier answer."""
        return self._source is not self._text

    @property
    def proposes(self) -> bool:
        """Whether there is a proposal."""
        return self._next > 0

    @property
    def agreement(self) -> int:
        """How many tokens before the proposal agree with the last ones of the text that were chosen."""
        return min(self._agreement, self._chosen)

    def push(self, id: int, *, certain: bool = False) -> bool | None:
        """Append a token. Returns whether it is the one that was proposed, None where none was.

        `certain`: nothing else could come.
        """
        proposed = self._source.ids[self._next] if self._next else None
        self._text.append(id)
        self._chosen = 0 if certain else self._chosen + 1
        if proposed == id and self._goes_on():
            self._next += 1
            self._agreement = min(self._agreement + 1, LONGEST)
        else:
            self._search()
        return None if proposed is None else proposed == id

    def proposal(self, most: int) -> list[int]:
        """At most `most` tokens that may come next; a text that repeats itself goes on to do so."""
        if not self._next:
            return []
        found = self._source.ids[self._next : self._next + most]
        if END in found:
            found = found[: found.index(END)]
        repeats = not self.from_earlier and len(found) < most
        return [found[i % len(found)] for i in range(most)] if repeats else found

    def _goes_on(self) -> bool:
        """Whether the source has a token after the proposed one."""
        after = self._next + 1
        return after < len(self._source.ids) and self._source.ids[after] != END

    def _search(self) -> None:
        last = self._text.ids[-LONGEST:]
        self._source = self._text
        self._next, self._agreement = self._text.best_place(last)
        place, agreement = self._earlier.text.best_place(last)
        if agreement > self._agreement:
            self._source, self._next, self._agreement = self._earlier.text, place, agreement
