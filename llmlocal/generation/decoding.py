"""The next tokens of an answer: one run of the engine, for the last token alone or with proposals after it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from time import perf_counter

from ..engine import Engine, Logits
from ..quant.jit.cpu import target
from ..speculation.cost_file import CostFile
from ..speculation.decision import Decision
from ..speculation.draft import Draft, DraftProposer
from ..speculation.speculation import Speculation
from .answer_tokens import AnswerTokens
from .events import Token
from .log_probabilities import scored


def next_tokens(
    engine: Engine, tokens: AnswerTokens, speculation: Speculation, best: int | None
) -> Generator[Token, None, None]:
    """Run the engine once, and take the tokens that come of it: at least one, more where proposals come true.

    A proposed token is kept if it is the one that is chosen by the logits before it, and those after it fall with the
    first that is not; so the answer is the same with and without proposals. In the end, and where it is closed, the
    engine holds all tokens but the last. `best`: as `Session.answer`. Raises as `Engine.decode` and
    `AnswerTokens.take`.
    """
    unread = tokens.history[engine.length() :]
    n = len(unread)
    some = speculation.propose(tokens.room - 1, tokens.history, tokens.guess, before=n, form=tokens)
    clock = perf_counter()
    if some:
        whole = [*unread, *some]
        rows: Iterable[Logits] = engine.verify_parts([(0, whole)], range(n - 1, len(whole)))
    else:
        rows = engine.run([(0, unread)], [0]) if n == 1 else [engine.prefill(unread)]
    seconds, taken, certain = perf_counter() - clock, 0, 0
    try:
        for logits, proposal in zip(rows, [*some, None], strict=True):
            forced = tokens.forced
            token = take(tokens, engine.checked(logits), best)
            speculation.took([token.id], certain=forced)
            taken, certain = taken + 1, certain + forced
            yield token
            if tokens.reason is not None or token.id != proposal:
                break
    finally:
        if some:
            engine.truncate(len(tokens.history) - 1)
    if n <= speculation.largest_run:
        speculation.ran(len(some), seconds, taken, before=n, certain=certain)


def certain(
    tokens: AnswerTokens, logits: Logits, speculation: Speculation, best: int | None
) -> Generator[Token, None, None]:
    """The next token by logits that are there already, or one that needs none."""
    forced = tokens.forced
    token = take(tokens, logits, best)
    speculation.took([token.id], certain=forced)
    yield token


def take(tokens: AnswerTokens, logits: Logits, best: int | None) -> Token:
    """The next token by logits (n_vocab,), with the log probabilities of the `best` ids where that is not None."""
    token = tokens.take(logits)
    return token if best is None else scored(token, logits, best)


def speculation_of(engine: Engine, mode: str, draft: Draft | None = None) -> Speculation:
    """The proposals that an engine can prove, in a `mode` of `speculation.speculation.MODES`, with a loaded draft."""
    if mode == "off":
        return Speculation(Decision(), 1)
    resting = ""
    if mode == "mtp" and engine.predictor is None:
        resting = "memory for the block that predicts further tokens is not free"
    if engine.verifiable < 2:
        mapped = engine.same_bits < 2
        resting = "weights are mapped (--weights copy allows it)" if mapped else "memory for its states is not free"
    decision = Decision(cost_file(engine).load(), always=mode in ("ngram", "draft", "mtp"))
    return Speculation(decision, engine.verifiable, resting, DraftProposer(draft) if draft else None)


def cost_file(engine: Engine) -> CostFile:
    """Where it is kept what runs of several tokens cost on this machine."""
    files = [(str(path), state.st_size, state.st_mtime_ns) for path, state, _ in engine.gguf.files()]
    return CostFile(repr((files, target(), engine.n_threads, engine.cache_format)))
