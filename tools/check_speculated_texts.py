"""Checks that answers with proposals are those of plain decoding: prompts x samplings x proposers x threads.

    python tools/check_speculated_texts.py model.gguf --draft small.gguf --speculate ngram draft auto

Prompts are ids that repeat themselves, more or less. Each is answered greedily and with so many seeds, each at a
temperature of its own, once without proposals by one thread, then in every way. Prints a line for each way, and ends
with 1 at the first answer that differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmlocal.chat_format.prompt import Prompt
from llmlocal.generation.events import Finished, Token
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.speculation.speculation import MODES

N_CTX, FIRST_ID = 420, 3  # tokens; and the first id that is no mark of a tiny vocabulary
Case = tuple[list[int], SamplingParams]
Answer = tuple[list[int], Finished]


def prompts(n: int, n_vocab: int) -> list[list[int]]:
    """Some are longer than a chunk of the KV cache."""
    rng = np.random.default_rng(5)
    made = []
    for i in range(n):
        part = rng.integers(FIRST_ID, n_vocab, int(rng.integers(3, 40))).tolist()
        made.append((part * 12)[: int(rng.integers(10, 340 if i % 4 == 0 else 80))] + part[: len(part) // 2])
    return made


def samplings(seeds: int) -> list[SamplingParams]:
    """The greedy one, and one for each seed."""
    warm = (SamplingParams(temperature=0.2 + 0.3 * seed, seed=seed) for seed in range(seeds))
    return [SamplingParams(temperature=0), *warm]


def answers(session: Session, cases: Sequence[Case], most: int) -> Iterator[Answer]:
    """The ids of each answer, `most` at most, and its end."""
    for ids, sampling in cases:
        *events, end = session.answer(Prompt("", ids, True), max_tokens=most, sampling=sampling)
        assert isinstance(end, Finished)
        yield [event.id for event in events if isinstance(event, Token)], end


def compared(session: Session, cases: Sequence[Case], plain: Sequence[Answer], most: int) -> str:
    """How many answers, tokens and proposals there were. Raises ValueError for an answer that differs."""
    tokens = proposed = accepted = 0
    for case, (wanted, ended), (got, end) in zip(cases, plain, answers(session, cases, most), strict=True):
        if got != wanted or end.reason != ended.reason:
            raise ValueError(f"{case}: {got} in place of {wanted}")
        tokens += len(got)
        proposed += end.speculation.proposed
        accepted += end.speculation.accepted
    return f"{len(plain)} answers, {tokens} tokens are the same; {accepted} of {proposed} proposed tokens accepted"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--draft", type=Path)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-t", "--threads", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--speculate", nargs="+", choices=MODES, default=["ngram", "auto"])
    parser.add_argument("--weights", default="copy")
    given = parser.parse_args(arguments)
    how: dict[str, Any] = {"n_ctx": N_CTX, "weights": given.weights}
    with Session.open(given.model, n_threads=1, **how) as session:
        some = prompts(given.n, session.engine.n_vocab)
        cases = [(ids, sampling) for ids in some for sampling in samplings(given.seeds)]
        plain = list(answers(session, cases, given.tokens))
    for mode in given.speculate:
        draft = given.draft if mode != "ngram" else None
        for threads in given.threads:
            with Session.open(given.model, n_threads=threads, speculate=mode, draft=draft, **how) as session:
                try:
                    print(f"{mode:5}  {threads} threads: {compared(session, cases, plain, given.tokens)}", flush=True)
                except ValueError as error:
                    print(f"{mode}, {threads} threads: {error}", file=sys.stderr)
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
