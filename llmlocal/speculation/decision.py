"""How many tokens to propose: what they are expected to gain, and an account of what proposals did gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .acceptance import Acceptance
from .costs import Costs
from .ngram import EarlierAnswers

MARGIN = 1.05  # expected gain below which nothing is proposed
INTEREST = 0.0075  # part of a run's time that each run without proposals adds to the account: what trying may cost
AT_FIRST = 2 * INTEREST  # while there is nothing in it: of reading a prompt, and of the first EARLY runs
EARLY = 25
ANY, AS_WRITTEN = (0.0,), (0.9,)  # one class, and the first guess of the chance in it
CREDIT, START = 16.0, 0.5  # the most that the account holds, and what an answer begins with, in runs of one token


@dataclass(slots=True)
class Share:
    """What one proposer did: tokens `proposed`, those of them `accepted`, and seconds `saved`."""

    proposed: int = 0
    accepted: int = 0
    saved: float = 0.0


class Decision:
    """Decides for all sequences of an engine. With `always` everything is proposed, whether it pays or not."""

    def __init__(self, costs: Costs | None = None, *, always: bool = False) -> None:
        self.costs, self.always = costs or Costs(), always
        self.acceptance = Acceptance(), Acceptance()  # of proposals from the text itself, and from earlier answers
        self.expected = Acceptance(ANY, AS_WRITTEN)  # of the tokens in which a form's text is expected
        self.earlier = EarlierAnswers()
        self.totals = Share(), Share()  # of proposals from texts, and from a draft
        self.account, self._early = 0.0, EARLY
        self._reading = 0.0  # seconds of a prompt that nothing was earned for yet

    def begin(self, seconds: float = 0.0) -> None:
        """An answer begins to a prompt that was read in so many seconds, which earn interest as runs do.

        What earlier answers gained is not to be lost by it.
        """
        self.account, self._reading = min(self.account, START), seconds

    @property
    def ready(self) -> bool:
        """Whether enough is known of what runs cost."""
        return self.always or not self.costs.stale

    def affordable(self, most: int, beside: Sequence[float] | None = None, before: int = 1) -> int:
        """How many tokens, at most `most`, may be proposed: what is lost where none comes true is in the account.

        `beside`: what each number of proposals costs besides the run, in runs of one token; `before`: how many tokens
        the run has without proposals. Larger runs are tried step by step.
        """
        most = max(min(most, 2 * self.costs.largest + 2 - before), 0)
        ratios = self.costs.ratios(most + before)[before - 1 :]
        lost = (ratios[n] - ratios[0] + (beside[n - 1] if beside else 0.0) for n in range(1, most + 1))
        return next((n for n, loss in enumerate(lost) if loss > self.account), most)

    def best(
        self,
        chances: Sequence[float],
        beside: Sequence[float] | None = None,
        before: int = 1,
        worth: Sequence[float] | None = None,
    ) -> tuple[float, int]:
        """The best expected speed in tokens per run of one, and the number of proposals that has it.

        MARGIN and 0 where none is better than that. `chances`: of each token, that it and all before it come true;
        `worth`: what it would cost without proposals, in runs of one token, which it does by default. `beside` and
        `before` as in `affordable`.
        """
        ratios = self.costs.ratios(len(chances) + before)[before - 1 :]
        expected, best, count = ratios[0], MARGIN, 0
        for n, chance in enumerate(chances, 1):
            expected += chance * (worth[n - 1] if worth else 1.0)
            speed = expected / (ratios[n] + (beside[n - 1] if beside else 0.0))
            if speed > best:
                best, count = speed, n
        return best, count

    def pay(self, seconds: float) -> None:
        """Time was spent beside the runs: it is taken from the account."""
        if self.costs.single:
            self.account -= seconds / self.costs.single

    def ran(self, proposed: int, seconds: float, taken: float, before: int = 1) -> float:
        """A run of `before` tokens and `proposed` more took so long. Returns the seconds it saved.

        `taken` is what the tokens that it gave would have cost without proposals, in runs of one token, the first of
        them counted as 1. Of several sequences together: each had one, `proposed` are of all, `taken` is the mean.
        """
        self.costs.took(before + proposed, seconds)
        plain = self.costs.ratios(before)[-1]
        if self._reading and (single := self.costs.single):
            earned = min(AT_FIRST * self._reading / single, START - self.account)
            self.account, self._reading = self.account + max(earned, 0.0), 0.0
        if not proposed or not (single := self.costs.single):
            earned = AT_FIRST if self._early else INTEREST
            self._early = max(self._early - 1, 0)
            self.account = min(self.account + earned * plain, CREDIT)
            return 0.0
        saved = (plain + taken - 1) * single - seconds
        self.account = min(self.account + saved / single, CREDIT)
        return saved
