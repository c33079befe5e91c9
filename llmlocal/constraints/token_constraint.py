"""What whoever samples asks of a constraint: one object for each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


class TokenConstraint(Protocol):
    """The state of a constraint after some tokens of an answer."""

    def masked(self, logits: Logits) -> Logits:
        """Logits (n_vocab,) float32 with -inf for tokens that may not come next: an array that the caller may change.

        It holds until the next call of a method. End tokens are allowed only where the text is complete. Raises
        UsageError where the constraint is too complex.
        """

    def prepare(self) -> None:
        """Begin to compute the next mask in another thread, beside what the caller does until `masked`."""

    def allows(self, id: int) -> bool:
        """Whether a token may come next."""

    def advance(self, id: int) -> None:
        """Take a token. Raises UsageError for one that is not allowed."""

    def forced(self) -> list[int]:
        """The tokens that must come next, as the tokenizer would write them; empty where there is a choice."""

    def follow(self, ids: Sequence[int]) -> list[bool]:
        """Of tokens in a row, as many as may come next: for each whether it must come, after those before it."""

    def expected(self) -> list[int]:
        """The text that must come next in the tokenizer's tokens, where other tokens could write it, too."""

    def copy(self) -> TokenConstraint:
        """The same state once more, which goes on by itself."""

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""

    @property
    def finished(self) -> bool:
        """Whether nothing may follow: the text is complete and can only end."""
