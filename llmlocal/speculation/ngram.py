"""Proposals from texts: where the last tokens occurred before, what followed them there may follow again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LONGEST = 32  # tokens of agreement that are counted
PLACES = 8  # of the latest occurrences of a token, or of two, that are compared
END = -1  # in the place of a token between two texts
MOST_EARLIER = 1 << 14  # tokens of earlier answers that are kept


class Place(NamedTuple):
    """The position of a token in a text, and how many tokens before it agree with the last ones of another.

    `doubtful`: other places agree as much, and go on with another token.
    """

    at: int = 0
    agreement: int = 0
    doubtful: bool = False


NOWHERE = Place()


class Text:
    """Tokens, and where each of them and each pair of them occurred."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._after: dict[int, list[int]] = {}  # the places after a token
        self._after_two: dict[tuple[int, int], list[int]] = {}

    def append(self, id: int) -> None:
        """One more token, which follows the one and the pair before it."""
        ids = self.ids
        ids.append(id)
        at = len(ids) - 1
        if at and id != END:
            _add(self._after.setdefault(ids[-2], []), at)
            if at > 1:
                _add(self._after_two.setdefault((ids[-3], ids[-2]), []), at)

    def extend(self, ids: Sequence[int]) -> None:
        """More tokens."""
        for id in ids:
            self.append(id)

    def best_place(self, last: Sequence[int]) -> Place:
        """The position after the latest place that agrees with most of the last tokens of a text, at least one."""
        if not last or not self.ids:
            return NOWHERE
        places = self._after_two.get((last[-2], last[-1])) if len(last) > 1 else None
        fewest = 2 if places else 1
        ids, best, most, doubtful = self.ids, 0, 0, False
        for at in reversed(places or self._after.get(last[-1], [])):
            n, longest = fewest, min(at, len(last), LONGEST)
            while n < longest and ids[at - 1 - n] == last[-1 - n]:
                n += 1
            if n > most:
                best, most, doubtful = at, n, False
            elif n == most and ids[at] != ids[best]:
                doubtful = True
        return Place(best, most, doubtful) if best else NOWHERE


def _add(places: list[int], at: int) -> None:
    """One more place, of which the latest are kept."""
    places.append(at)
    if len(places) > PLACES:
        del places[0]


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
    """Proposes what followed the longest earlier occurrence of the last tokens.

    It is looked for in the text itself and in `earlier` answers. As long as the text goes on as proposed, the place
    goes on with it and nothing is searched.
    """

    def __init__(self, earlier: EarlierAnswers) -> None:
        self._text, self._earlier = Text(), earlier
        self._source: Text = self._text
        self._place = NOWHERE  # in `_source` of the token that is proposed
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
        return self._place.at > 0

    @property
    def agreement(self) -> int:
        """How many tokens before the proposal agree with the last ones of the text that were chosen.

        0 where it is doubtful: places that agree as much go on with different tokens.
        """
        return 0 if self._place.doubtful else min(self._place.agreement, self._chosen)

    def push(self, id: int, *, certain: bool = False) -> bool | None:
        """Append a token. Returns whether it is the one that was proposed, None where none was.

        `certain`: nothing else could come.
        """
        at, agreement, _ = self._place
        proposed = self._source.ids[at] if at else None
        self._text.append(id)
        self._chosen = 0 if certain else self._chosen + 1
        if proposed == id and self._goes_on():
            self._place = Place(at + 1, min(agreement + 1, LONGEST))
        else:
            self._search()
        return None if proposed is None else proposed == id

    def proposal(self, most: int) -> list[int]:
        """At most `most` tokens that may come next; a text that repeats itself goes on to do so."""
        return self._from(self._source, self._place, most)

    def behind(self, ids: Sequence[int], most: int) -> tuple[list[int], int, bool]:
        """What would be proposed behind `ids`, how many tokens before it agree, and whether it is `from_earlier`."""
        source, place = self._found([*self._text.ids[-LONGEST:], *ids])
        agreement = 0 if place.doubtful else min(place.agreement, self._chosen + len(ids))
        return self._from(source, place, most), agreement, source is not self._text

    def _goes_on(self) -> bool:
        """Whether the source has a token after the proposed one."""
        after = self._place.at + 1
        return after < len(self._source.ids) and self._source.ids[after] != END

    def _search(self) -> None:
        self._source, self._place = self._found(self._text.ids)

    def _found(self, last: Sequence[int]) -> tuple[Text, Place]:
        place, earlier = self._text.best_place(last), self._earlier.text.best_place(last)
        return (self._earlier.text, earlier) if earlier.agreement > place.agreement else (self._text, place)

    def _from(self, source: Text, place: Place, most: int) -> list[int]:
        found = source.ids[place.at : place.at + most] if place.at else []
        if END in found:
            found = found[: found.index(END)]
        repeats = source is self._text and 0 < len(found) < most
        return [found[i % len(found)] for i in range(most)] if repeats else found
