"""Measure `batch`: short prompts that share a beginning, one by one and several at once, in one process and in turn.

    python tools/bench_batch.py model.gguf --rows 200 --shared 500 -n 8 --parallel 1 16 -t 2 --rounds 2

Results must not depend on how many rows are answered at once; where they do, the exit code is 1. Times are without the
start of the process. On a busy machine compare CPU seconds, with one thread.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple

from llmlocal.batch.row_prompt import RowPrompts
from llmlocal.batch.rows import Row
from llmlocal.batch.run import Answering, Result, results, sequences
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session

WORDS = ("river", "stone", "garden", "letter", "window", "music", "winter", "market", "bridge", "doctor", "engine")
ROOM = 200  # tokens of a context beside the shared beginning and the answer
SEED = 1


class Took(NamedTuple):
    """Seconds of the clock and of CPU time for all rows."""

    wall: float
    cpu: float


def rows(session: Session, count: int, shared: int) -> list[Row]:
    """Prompts with a beginning of about `shared` tokens in common and a question of five words each."""
    rng, beginning = random.Random(0), "Sort this note of a small shop into one kind."
    while len(session.tokenizer.encode(beginning)) < shared:
        beginning += " " + rng.choice(WORDS)
    questions = [" ".join(rng.choices(WORDS, k=5)) for _ in range(count)]
    fields = [{"prompt": f"{beginning}\nNote: {question}. Which kind?"} for question in questions]
    return [Row(number, b"", each) for number, each in enumerate(fields, 1)]


def answering(max_tokens: int) -> Answering:
    """How rows are answered: default sampling with a seed, so that answers can be compared."""
    return Answering(sampling=SamplingParams(), seed=SEED, max_tokens=max_tokens)


def answered(model: Path, given: argparse.Namespace, parallel: int) -> tuple[list[Result], Took]:
    """The results of all rows, `parallel` at once, by an engine that has answered one row before."""
    n_ctx, n_seqs = given.shared + given.n + ROOM, sequences(parallel)
    with Session.open(model, n_ctx=n_ctx, n_threads=given.t, n_seqs=n_seqs, weights=given.weights) as session:
        asked = [(row, "") for row in rows(session, given.rows, given.shared)]
        prompts, how = RowPrompts(session, None, None, None, "auto"), answering(given.n)
        session.engine.prefill(prompts.of(asked[0][0].fields).ids)  # its first touch of memory is not measured
        wall, cpu = perf_counter(), process_time()
        with closing(results(session, asked, prompts, how, parallel)) as found:
            every = list(found)
        return every, Took(perf_counter() - wall, process_time() - cpu)


def told(name: str, count: int, took: Sequence[Took], first: Sequence[Took]) -> str:
    """A line: rows a minute and CPU time a row, medians, and how many times as fast as `first`."""
    wall, cpu, base_wall, base_cpu = (median(x) for x in (*zip(*took, strict=True), *zip(*first, strict=True)))
    speed = f"{60 * count / wall:.1f} rows/min, {1000 * cpu / count:.1f} ms of CPU time a row"
    return f"{name}: {speed}, {base_wall / wall:.2f} x the first by the clock, {base_cpu / cpu:.2f} x by CPU time"


def parser_of(description: str, **defaults: int) -> argparse.ArgumentParser:
    """A parser of what every benchmark of `batch` asks: `defaults` are those of rows, shared and n."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, help="how many rows")
    parser.add_argument("--shared", type=int, help="tokens that prompts share")
    parser.add_argument("-n", type=int, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=2, help="rounds in turn")
    parser.set_defaults(**defaults)
    return parser


def main() -> int:
    """Exit code 1 where results differ."""
    parser = parser_of("Measure batch with a shared beginning of the prompts.", rows=200, shared=500, n=8)
    parser.add_argument("--parallel", type=int, nargs="+", default=[1, 16], help="rows at once")
    parser.add_argument("-t", type=int, help="threads; one for each core without it")
    parser.add_argument("--weights", choices=("copy", "map"), default="copy", help="where they are kept")
    given = parser.parse_args()
    took: dict[int, list[Took]] = {parallel: [] for parallel in given.parallel}
    texts = set()
    for _ in range(given.rounds):
        for parallel in given.parallel:
            every, seconds = answered(given.model, given, parallel)
            took[parallel].append(seconds)
            texts.add(repr(every))
    for parallel in given.parallel:
        print(told(f"{parallel} at once", given.rows, took[parallel], took[given.parallel[0]]))
    print("results are the same" if len(texts) == 1 else "results differ")
    return len(texts) > 1


if __name__ == "__main__":
    raise SystemExit(main())
