"""Measures speculation on real prompts: answers with and without it in turn, which must be the same.

    python tools/bench_speculation.py model.gguf -t 2 --weights copy

Times are CPU seconds of the process over its threads (--wall: of the clock), so that other work on the machine counts
less. Costs that were measured earlier are used only with --keep. --draft names a draft for the speculation.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from llmlocal.chat_format.prompt import PromptRequest
from llmlocal.generation.events import Finished, Token
from llmlocal.generation.sampler import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.speculation.costs import Costs

TEXT = (Path(__file__).parents[1] / "docs" / "first-minute.md").read_text()[:2400]
CODE = """def total_price(items):
    total = 0
    for item in items:
        if item.price is not None:
            total += item.price * item.count
    return total


def total_weight(items):
    total = 0
    for item in items:
        if item.weight is not None:
            total += item.weight * item.count
    return total
"""
PROMPTS = {
    "quote": f"Repeat this text word for word:\n\n{TEXT}",
    "edit": f"Rewrite this code with the variable total renamed to result, and show all of it:\n\n{CODE}",
    "summary": f"Summarize this text in five sentences:\n\n{TEXT}",
    "list": "Count from 1 to 60, one number per line.",
    "story": "Write a story about a dragon and a knight.",
    "question": "Why is the sky blue, and why is it red in the evening?",
}


def answer(session: Session, text: str, params: SamplingParams, n: int) -> tuple[list[int], Finished, float, float]:
    """The ids of an answer, its end, and its seconds of CPU and of the clock."""
    events = session.answer(session.prompt(PromptRequest(text.encode())), max_tokens=n, sampling=params)
    ids, cpu, wall, end = [], 0.0, 0.0, None
    for event in events:
        if isinstance(event, Token):
            ids.append(event.id)
            if len(ids) == 1:
                cpu, wall = process_time(), perf_counter()
        elif isinstance(event, Finished):
            end = event
    assert end is not None
    return ids, end, process_time() - cpu, perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument("-n", type=int, default=160)
    parser.add_argument("-r", "--repeats", type=int, default=3)
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--draft")
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    how = {"n_ctx": 2048, "n_threads": given.threads, "weights": given.weights}
    with (
        Session.open(given.model, **how) as plain,
        Session.open(given.model, speculate="auto", draft=given.draft, **how) as other,
    ):
        if not given.keep:
            other.speculation.decision.costs = Costs()
        for name, text in PROMPTS.items():
            for temperature in (0.0, 0.7):
                params, ratios = SamplingParams(temperature=temperature, seed=1), []
                for _ in range(given.repeats):
                    one, two = answer(plain, text, params, given.n), answer(other, text, params, given.n)
                    assert one[0] == two[0], "the texts differ"
                    ratios.append(one[2 + given.wall] / two[2 + given.wall])
                report = two[1].speculation
                told = f"{report.accepted} of {report.proposed} accepted, gain by its own count {report.gain:.2f}"
                if given.draft:
                    told += f" (text {report.ngram.gain:.2f}, draft {report.draft.gain:.2f})"
                print(f"{name:10} t={temperature}  {len(two[0]):4} tokens  {median(ratios):.2f} x  {told}", flush=True)
        print({size: round(ratio, 2) for size, ratio in other.speculation.decision.costs.measured.items()})


if __name__ == "__main__":
    main()
