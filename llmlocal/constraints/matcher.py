"""A grammar at work on one sequence of tokens, by llguidance."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from copy import copy
from functools import partial

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from ..errors import UsageError
from .deep_stack import on_deep_stack
from .token_constraint import Logits
from .validity import told

# For each byte of a mask, what is added to the logits of its eight tokens, the first of which is the lowest bit.
ADDED = np.where(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), 0, -np.inf)
ADDED = ADDED.astype(np.float32)
MOST_ITEMS = 1_000_000  # of the parser for one mask, about 50 ms; a large vocabulary may need more than 50,000
DEAD_ENDS = ("NoExtension", "NoExtensionBias")  # of llguidance: nothing may follow, and the text is not complete


BESIDE = ThreadPoolExecutor(1, "llmlocal-mask")  # its thread starts with the first mask


class Matcher:
    """A `TokenConstraint`: the grammar `compiled`, in llguidance's notation, over the tokens of `table`."""

    def __init__(self, table: LLTokenizer, compiled: str) -> None:
        limits = LLParserLimits(step_max_items=MOST_ITEMS)
        self._table = table
        self._state = on_deep_stack(partial(LLMatcher, table, compiled, log_level=0, limits=limits))
        self._bits: NDArray[np.int32] = np.zeros((table.vocab_size + 31) // 32, np.int32)
        self._room: Logits = np.zeros((self._bits.nbytes, 8), np.float32)  # fresh memory takes longer than the mask
        self._coming: Future[Logits] | None = None  # the mask of this state
        self._check()

    def prepare(self) -> None:
        """As `TokenConstraint.prepare`."""
        if self._coming is None:
            self._coming = BESIDE.submit(_added, self._state, self._bits, self._room)

    def masked(self, logits: Logits) -> Logits:
        """As `TokenConstraint.masked`."""
        added = _added(self._state, self._bits, self._room) if self._coming is None else self._coming.result()
        self._coming = None
        self._check()
        found = added[: logits.size]  # its memory is used again: a copy of the logits takes longer than the sum
        found += logits[: added.size]
        missing = logits.size - found.size
        return np.pad(found, (0, missing), constant_values=-np.inf) if missing else found

    def allows(self, id: int) -> bool:
        """As `TokenConstraint.allows`."""
        return bool(self._matcher.validate_tokens([id]))

    def advance(self, id: int) -> None:
        """As `TokenConstraint.advance`."""
        if not self._taken([id]):
            self._check()
            raise UsageError(f"token {id} is not allowed here by the form that the answer must have")
        self._check()

    def accepts(self, ids: Sequence[int]) -> bool:
        """Take tokens; whether all of them were allowed and the text may end after them."""
        return self._taken(ids) and self.complete

    def forced(self) -> list[int]:
        """As `TokenConstraint.forced`."""
        return _forced(self._matcher)

    def follow(self, ids: Sequence[int]) -> list[bool]:
        """As `TokenConstraint.follow`; the first of them is taken for one that need not come."""
        state, forced, found = self._matcher.deep_copy(), deque[int](), list[bool]()
        for id in ids[: state.validate_tokens(list(ids))]:
            if forced and id != forced[0]:
                break
            found.append(bool(forced))
            state.consume_token(id)
            if forced:
                forced.popleft()
            if not forced:
                forced.extend(_forced(state))
        return found

    def expected(self) -> list[int]:
        """As `TokenConstraint.expected`; tokens that are `forced` are not looked for again."""
        text = self._matcher.compute_ff_bytes()
        ids = self._table.tokenize_bytes(text) if text else []
        return list(ids[: self._matcher.validate_tokens(ids)]) if ids else []

    def copy(self) -> Matcher:
        """As `TokenConstraint.copy`."""
        other = copy(self)
        other._state, other._coming = self._matcher.deep_copy(), None
        other._bits, other._room = np.empty_like(self._bits), np.empty_like(self._room)
        return other

    @property
    def complete(self) -> bool:
        """As `TokenConstraint.complete`."""
        return bool(self._matcher.is_accepting())

    @property
    def finished(self) -> bool:
        """As `TokenConstraint.finished`."""
        return bool(self._matcher.is_stopped())

    def _taken(self, ids: Sequence[int]) -> bool:
        """Take tokens up to the first that is not allowed; whether there is none."""
        taken = self._matcher.try_consume_tokens(list(ids))
        self._coming = None
        return bool(taken == len(ids))

    @property
    def _matcher(self) -> LLMatcher:
        """The state, when no mask of it is being computed."""
        if self._coming is not None:
            wait([self._coming])
        return self._state

    def _check(self) -> None:
        if self._matcher.is_error():
            said = told(self._matcher.get_error().partition("\n")[0])
            said = "no text has this form" if said in DEAD_ENDS else f"the form is too complex: {said}"
            raise UsageError(said)


def _forced(state: LLMatcher) -> list[int]:
    """The tokens that must come next, as the tokenizer would write them."""
    ids = state.compute_ff_tokens()
    return list(ids[: state.validate_tokens(ids)])


def _added(state: LLMatcher, bits: NDArray[np.int32], room: Logits) -> Logits:
    """What is added to logits, in `room`: 0 for tokens that may come next, otherwise -inf. Fills `bits`, too."""
    state.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)  # without the GIL
    return ADDED.take(bits.view(np.uint8), axis=0, out=room, mode="clip").reshape(-1)  # unlike "raise", into `out`
