"""The scheduler: one thread that runs an engine for all requests, a piece of a prompt and a token of each in turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic

from ..engine import Logits
from ..errors import ResourceError
from ..generation.prompt_cache import PromptCache
from ..generation.session import Session
from ..quant.jit.cpu import target
from ..quant.kernels.matmul import TILED_TOKENS
from ..quant.simd.few_tokens import FEW_TOKENS
from ..runtime.shared_prefixes import common_prefix
from .answer import NOWHERE, Answer
from .counts import Counts
from .request import Deliver, QueueFullError, Request
from .sequences import WORTH_COPYING, Sequences
from .writing import Writing

QUEUE = 64  # requests that may wait for a sequence
STOPPING = "the server is stopping"
PIECE_WORK = 20e9  # multiply-adds in a piece of a prompt: how long the other answers wait for it
PIECES = (32, 64, 128, 256, 512)  # tokens; the choice depends on the model alone, so that answers can be repeated


class Scheduler:
    """Answers requests with the engine of a session, as many at once as it has sequences, in the order of their coming.

    Each step reads one piece of a prompt and then generates one token of every answer, so a long prompt delays the
    others by one piece at a time. Prompts take turns. A request that begins like a prompt that is being read waits for
    it, and then gets its keys and values.
    """

    def __init__(
        self,
        session: Session,
        *,
        queue: int = QUEUE,
        cache: PromptCache | None = None,
        least: int = 1,
        delivered: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Load the engine and start the thread; `cache` keeps prompts on disk. Raises as `Session.engine`.

        `delivered` is called by the thread when there are no more deliveries before the engine runs again; with true
        where it will not be called again soon, because a prompt is read next or nobody is answered.

        Tokens are generated in batches of at least `least`, which are filled up with tokens that nobody asked for where
        fewer answers are at work; the engine has to have so many sequences. `steady_batch` says what makes the logits
        of an answer independent of those beside it.
        """
        self.session, self.counts, self._speculation = session, Counts(), session.speculation
        self._engine, self._limit, self._delivered = session.engine, queue, delivered
        self._least = least if self._engine.same_bits < self._engine.n_seqs else 1
        self._sequences = Sequences(self._engine, cache)
        self._steps = Writing(self._engine, self._sequences, self._least, self._speculation)
        self._waiting: deque[Answer] = deque()
        self._reading: deque[Answer] = deque()
        self._writing: list[Answer] = []
        self._piece = piece_size(sum(tensor.rows * tensor.k for tensor in session.gguf.tensors.values()))
        self._changed = threading.Condition()
        self._deadline: float | None = None  # when to give up, once it is being closed
        self._thread = threading.Thread(target=self._work, name="llmlocal-scheduler", daemon=True)
        self._thread.start()

    def submit(self, request: Request, deliver: Deliver) -> Answer:
        """Answer a request: `deliver` is called by the scheduler's thread, at last with `Finished` or `Failed`.

        Raises QueueFullError, PromptTooLongError, ResourceError where it is being closed, UsageError for an empty stop
        string.
        """
        self.session.check_room(len(request.prompt.ids), request.max_tokens)
        answer = Answer(request, self.session.tokenizer, self.session.n_ctx, deliver, self._speculation.beside())
        with self._changed:
            if self._deadline is not None:
                raise ResourceError(STOPPING)
            self._drop_cancelled()
            at_work = sum(not answer.ended for answer in [*self._reading, *self._writing])
            if len(self._waiting) + at_work >= self.room:
                said = f"all sequences are taken, and {self._limit} requests are waiting already"
                raise QueueFullError(said, "try again later")
            self._waiting.append(answer)
            self._changed.notify()
        return answer

    @property
    def parallel(self) -> int:
        """Requests that are answered at once, at most."""
        return self._engine.n_seqs

    @property
    def room(self) -> int:
        """Requests that are taken at once, at most, those that wait among them."""
        return self._limit + self.parallel

    @property
    def waiting(self) -> int:
        """Requests without a sequence."""
        return sum(not answer.ended for answer in [*self._waiting])

    @property
    def busy(self) -> int:
        """Requests that are being answered."""
        return len(self._reading) + len(self._writing)

    def close(self, grace: float = 0.0) -> None:
        """Finish what is at work, for at most `grace` seconds, fail all other requests, save the prompts if there
        is a cache, and close the session."""
        with self._changed:
            self._deadline = monotonic() + grace
            self._changed.notify()
        self._thread.join()
        try:
            self._sequences.save()
        finally:
            self.session.close()

    def _work(self) -> None:
        while self._wait():
            try:
                self._admit()
                self._read_piece()
                self._delivered(False)
                self._write_tokens()
                self.counts.steps += 1
            except Exception as error:  # of the engine: no answer that is at work can go on
                self._fail(error, [*self._reading, *self._writing])
                self._sequences.forget()
            self._drop_ended()
            to_be_read = self._reading or (self._waiting and self._sequences.free)
            self._delivered(bool(to_be_read or not self._writing))
        self._fail(ResourceError(STOPPING), [*self._reading, *self._writing])
        self._delivered(True)

    def _wait(self) -> bool:
        """Sleep until there is something to do; false when the scheduler should end."""
        with self._changed:
            while not self._waiting and not self.busy and self._deadline is None:
                self._changed.wait()
            if self._deadline is None:
                return True
            self._fail(ResourceError(STOPPING), self._waiting)
            self._waiting.clear()
            return self.busy > 0 and monotonic() < self._deadline

    def _admit(self) -> None:
        """Give free sequences to the requests that have waited longest."""
        while self._sequences.free and (answer := self._next()) is not None:
            seq, reused, read_again = self._sequences.take(answer.ids)
            self.counts.reused_tokens += reused
            self.counts.read_again_tokens += read_again
            answer.begin(seq, reused, read_again)

    def _next(self) -> Answer | None:
        """Take the first request from the queue that need not wait for another's prompt; None if there is none.

        It is at work from then on: what fails while it gets its sequence ends it, too.
        """
        with self._changed:
            self._drop_cancelled()
            found = next((a for a in self._waiting if not any(_will_serve(b, a) for b in self._reading)), None)
            if found is not None:
                self._reading.append(found)
                self._waiting.remove(found)
            return found

    def _drop_cancelled(self) -> None:
        """Forget the requests in the queue whose clients have left."""
        self._waiting = deque(answer for answer in self._waiting if not answer.ended)

    def _read_piece(self) -> None:
        """Read one piece of the prompt whose turn it is, and of others what fits the same batch.

        Fewer than TILED_TOKENS are read alone: they would be computed in another way beside others.
        """
        chosen: list[tuple[Answer, int]] = []
        room = self._piece
        for answer in self._reading:
            size = next(self._engine.pieces(len(answer.ids) - answer.read, self._piece))
            if not chosen or TILED_TOKENS <= size <= room:
                chosen.append((answer, size))
                room -= size
            if size < TILED_TOKENS and len(chosen) == 1:
                break
        if not chosen:
            return
        parts = [(answer.seq, answer.ids[answer.read : answer.read + size]) for answer, size in chosen]
        done = [i for i, (answer, size) in enumerate(chosen) if answer.read + size == len(answer.ids)]
        logits = self._steps.run(parts, done)
        for answer, size in chosen:
            answer.was_read(size)
            self.counts.prompt_tokens += size
            self._reading.remove(answer)
            (self._reading if answer.read < len(answer.ids) else self._writing).append(answer)
        self._take([chosen[i][0] for i in done], logits)

    def _write_tokens(self) -> None:
        """Generate tokens of every answer whose prompt has been read.

        Prompts come first where a batch would have to be filled up.
        """
        self._drop_ended()
        answers, reading = [*self._writing], bool(self._reading)
        if answers and (len(answers) >= self._least or not reading):
            self._steps.step(answers, self.counts, beside_reading=reading)

    def _take(self, answers: Sequence[Answer], logits: Logits) -> None:
        for answer, row in zip(answers, logits, strict=True):
            before = answer.tokens.count
            answer.take(row)
            self.counts.generated_tokens += answer.tokens.count - before
            answer.end_if_complete()

    def _fail(self, error: Exception, answers: Iterable[Answer]) -> None:
        for answer in answers:
            answer.fail(error)

    def _drop_ended(self) -> None:
        """Give back the sequences of answers that have ended."""
        for answer in [*self._reading, *self._writing]:
            if answer.ended and answer.seq != NOWHERE:
                self._sequences.give_back(answer.seq)
        self._reading = deque(answer for answer in self._reading if not answer.ended)
        self._writing = [answer for answer in self._writing if not answer.ended]


def steady_batch(parallel: int) -> int:
    """The size that batches of `parallel` answers must have at least, so that all are computed in the same way.

    1 where rows of weights are read for each token by itself; otherwise the number of tokens from which on they are
    read in tiles, or in another way once more. A product has the same bits in every batch of one way.
    """
    few = FEW_TOKENS[target().isa]
    if parallel >= TILED_TOKENS:
        return TILED_TOKENS
    return 1 if parallel <= min(few) else max(few) + 1


def piece_size(weights: int) -> int:
    """Tokens in a piece of a prompt, for a model of `weights` weights."""
    return max((n for n in PIECES if n * weights <= PIECE_WORK), default=PIECES[0])


def _will_serve(reading: Answer, waiting: Answer) -> bool:
    """Whether the prompt that is being read will soon hold more of the beginning of the one that waits."""
    return common_prefix(reading.ids, waiting.ids[:-TILED_TOKENS]) >= reading.read + WORTH_COPYING
