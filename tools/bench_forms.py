"""Measure what the form of an answer costs: tokens sampled with and without one, in turn, by the same engine.

    python tools/bench_forms.py model.gguf -t 2
    python tools/bench_forms.py model.gguf --schemas FOLDER --rounds 20

Every token takes one run of the model in both lanes, and only tokens are counted at which there was a choice: what is
gained by reading forced ones at once is left out. Schemas are those of JSON files, such as those of JSONSchemaBench
(`maskbench/data`), or a few that are built in. On a busy machine compare CPU time, which counts the mask's thread in
full; on a quiet one the clock, which does not where a core is free for it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple

from llmlocal.chat_format.prompt import plain
from llmlocal.constraints.grammar import Grammar
from llmlocal.constraints.requested import of_text
from llmlocal.generation.answer_text import AnswerText
from llmlocal.generation.answer_tokens import AnswerTokens
from llmlocal.generation.sampler import Sampler
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session

BUILT_IN = (
    "name, age int, hobbies [str]",
    '{"type": "object", "properties": {"kind": {"enum": ["bug", "feature", "question"]}, "text": {"type": "string"}}}',
    '{"type": "array", "items": {"type": "number"}}',
)
TEXT = "Once upon a time"


class Lane(NamedTuple):
    """Seconds of the clock and of CPU time for `tokens` sampled tokens."""

    wall: float
    cpu: float
    tokens: int


def sampled(session: Session, forms: Sequence[Grammar | None], tokens: int, seed: int) -> Lane:
    """Answers to one prompt, each in the next of the forms, until so many tokens have been chosen."""
    prompt, engine = plain(TEXT, session.tokenizer, session.gguf.metadata), session.engine
    wall = cpu = 0.0
    counted = 0
    for number, form in enumerate(cycle(forms)):
        sampler = Sampler(SamplingParams(seed=seed + number))
        text = AnswerText(prompt, session.tokenizer, exact=form is not None)
        answer = AnswerTokens(prompt, session.tokenizer, session.n_ctx, sampler, text, grammar=form)
        engine.adopt(())
        logits = engine.prefill(prompt.ids)
        while answer.reason is None:
            certain, clock, spent = answer.forced, perf_counter(), process_time()
            answer.take(logits)
            if answer.reason is not None:
                break
            logits = engine.decode(answer.history[-1])
            if certain:
                continue
            wall, cpu, counted = wall + perf_counter() - clock, cpu + process_time() - spent, counted + 1
            if counted == tokens:
                return Lane(wall, cpu, counted)
    raise AssertionError("unreachable: forms are repeated")


def of_folder(folder: Path, most: int) -> list[Grammar]:
    """The schemas of a public suite that are followed, of `most` that are drawn."""
    from check_schemas import cases, followed

    counts: Counter[str] = Counter()
    return [form for _, schema, _ in cases(folder, most) if (form := followed(schema, counts)) is not None]


def told(free: Sequence[Lane], formed: Sequence[Lane]) -> str:
    """A line: milliseconds a token without and with a form, medians, and the median of the rounds' ratios."""
    parts = []
    for name, clock in (("by the clock", 0), ("CPU time", 1)):
        lanes = [[1000 * lane[clock] / lane.tokens for lane in each] for each in (free, formed)]
        ratio = median(b / a for a, b in zip(*lanes, strict=True))
        parts.append(f"{name} {median(lanes[0]):.2f} and {median(lanes[1]):.2f} ms a token, {ratio:.3f} x")
    return "without and with a form: " + "; ".join(parts)


def main() -> None:
    """Print a line for each round, and one for all."""
    parser = argparse.ArgumentParser(description="Measure what the form of an answer costs.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--schemas", type=Path, help="a folder of JSON files (default: a few built-in schemas)")
    parser.add_argument("--most", type=int, default=40, help="schemas that are drawn (default: 40)")
    parser.add_argument("--tokens", type=int, default=25, help="tokens of a lane (default: 25)")
    parser.add_argument("--rounds", type=int, default=12, help="rounds in turn (default: 12)")
    parser.add_argument("-t", type=int, default=None, help="threads (default: one for each core)")
    given = parser.parse_args()
    forms = of_folder(given.schemas, given.most) if given.schemas else [of_text(text) for text in BUILT_IN]
    free, formed = list[Lane](), list[Lane]()
    with Session.open(given.model, n_ctx=512, n_threads=given.t, weights="copy") as session:
        sampled(session, [None, *forms], 10, 0)
        for number in range(given.rounds):
            free.append(sampled(session, [None], given.tokens, 1000 * number))
            formed.append(sampled(session, forms, given.tokens, 1000 * number))
            print(told(free[-1:], formed[-1:]), flush=True)
    print(f"{len(session.tokenizer.vocab.tokens)} tokens in the vocabulary, {given.rounds} rounds:", told(free, formed))


if __name__ == "__main__":
    main()
