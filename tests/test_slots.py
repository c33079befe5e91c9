"""Proposals for several answers at once: the texts are those that each has alone, and what does not pay is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families.converted import write_converted
from predicting import convert_predicting
from scheduled import Client
from test_speculation import GREEDY, prompts, words

from llmlocal.constraints.grammar import of_schema
from llmlocal.generation.events import Token
from llmlocal.generation.sampler import Sampler
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.scheduler.scheduler import Scheduler
from llmlocal.speculation.decision import Decision
from llmlocal.speculation.slots import Slot, Slots
from llmlocal.speculation.speculation import MOST, Speculation

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
CONTEXT, PARALLEL, ANSWER = 420, 3, 30


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    make_model.make_model("tiny-llama-256", path := tmp_path_factory.mktemp("slots") / "m.gguf", form="Q4_0")
    return path


def texts(path: Path, some: Sequence[tuple[list[int], Sampler]], parallel: int, **how: Any) -> tuple[Any, Any]:
    """The ids of answers that are asked for at once, and the scheduler's counts."""
    session = Session.open(path, n_ctx=CONTEXT, n_threads=2, n_seqs=parallel, **how)
    scheduler = Scheduler(session, queue=len(some))
    clients = [Client(scheduler, ids, ANSWER, sampler=sampler, logprobs=None) for ids, sampler in some]
    got = [[event.id for event in client.all() if isinstance(event, Token)] for client in clients]
    scheduler.close()
    return got, scheduler.counts


def asked(n: int, seeds: int, fold: int = 0) -> list[tuple[list[int], Sampler]]:
    """Prompts, of `fold` ids if it is not 0, greedy and with seeds."""
    params = [GREEDY, *(SamplingParams(temperature=0.2 + 0.3 * seed, seed=seed) for seed in range(seeds))]
    some = [[3 + id % fold for id in ids] if fold else ids for ids in prompts(n)]
    return [(ids, Sampler(param)) for ids in some for param in params]


def check(path: Path, n: int, seeds: int, speculate: str, parallel: int, fold: int = 0, **how: Any) -> Any:
    """The scheduler's counts; how many tokens are proposed depends on what runs cost at the time."""
    alone, _ = texts(path, asked(n, seeds, fold), 1, **how)
    together, counts = texts(path, asked(n, seeds, fold), parallel, speculate=speculate, **how)
    assert together == alone
    return counts


@pytest.mark.parametrize("speculate", ["ngram", "auto"])
def test_the_texts_are_those_of_each_alone(tiny: Path, speculate: str) -> None:
    counts = check(tiny, 5, 1, speculate, PARALLEL, weights="copy")
    assert counts.proposed_tokens >= counts.accepted_tokens > 0 or speculate == "auto"


def test_with_recurrent_states(tmp_path: Path) -> None:
    """Of one kind in products of floats, so that two answers have one proposal between them."""
    counts = check(write_converted("qwen35", tmp_path), 3, 1, "ngram", 2, fold=37, weights="map")
    assert counts.proposed_tokens >= counts.accepted_tokens > 0


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [2, 4, 9])
@pytest.mark.parametrize(("shape", "form"), [("tiny-llama-256", "Q4_K"), ("tiny-gemma3-256", "Q8_0")])
def test_the_texts_of_many_prompts(tmp_path: Path, shape: str, form: str, parallel: int) -> None:
    make_model.make_model(shape, path := tmp_path / "m.gguf", form=form)
    for kv_type in ("f16", "q8_0"):
        check(path, 34, 5, "ngram", parallel, weights="copy", kv_type=kv_type)


def test_with_a_draft(tiny: Path) -> None:
    """The model itself, which is right wherever it reads a prompt in the same pieces."""
    how: dict[str, Any] = {"weights": "copy"}
    alone, _ = texts(tiny, asked(2, 1), 1, **how)
    together, counts = texts(tiny, asked(2, 1), 2, speculate="draft", draft=tiny, **how)
    assert together == alone and counts.accepted_tokens > ANSWER / 2
    together, counts = texts(tiny, asked(2, 1), 4, speculate="auto", draft=tiny, **how)
    assert together == alone


def test_with_a_block_that_predicts_further_tokens(tmp_path: Path) -> None:
    path = convert_predicting("glm4moe", tmp_path)
    alone, _ = texts(path, asked(2, 1, fold=37), 1, weights="map")
    together, counts = texts(path, asked(2, 1, fold=37), 2, weights="map", speculate="mtp")
    assert together == alone and counts.proposed_tokens > 0


def test_certain_tokens_are_read_together(tiny: Path) -> None:
    """Forms of answers force tokens, which need no run of their own; log probabilities need one for each."""
    grammar = of_schema({"type": "array", "items": {"const": "abcabc"}, "minItems": 2, "maxItems": 2})
    steps, seen = [], []
    for parallel in (1, PARALLEL):
        for logprobs in (None, 0):
            session = Session.open(tiny, n_ctx=CONTEXT, n_threads=2, n_seqs=parallel, weights="copy")
            scheduler = Scheduler(session)
            more = {"grammar": grammar, "logprobs": logprobs}
            clients = [Client(scheduler, [5, 6, 7 + i], 60, seed=i, **more) for i in range(parallel)]
            seen += [[event.id for event in client.all() if isinstance(event, Token)] for client in clients[:1]]
            text = session.tokenizer.decode_bytes([id for id in seen[-1] if id not in session.tokenizer.stop_ids])
            assert json.loads(text) == ["abcabc", "abcabc"]
            scheduler.close()
            steps.append(scheduler.counts.steps)
    assert all(ids == seen[0] for ids in seen)
    assert steps[0] < steps[1] and steps[2] < steps[3]


# ---- the decision, by a clock of its own ---------------------------------------------------------------------------


def speeds(some: Sequence[Sequence[int]], ratio: Callable[[int], float], depth: int = 300) -> tuple[float, int]:
    """How many times as fast texts are generated together as token by token, and the most that was proposed."""
    rng, decision = np.random.default_rng(2), Decision()
    slots, made = Slots(decision), [Speculation(decision, MOST + 1) for _ in some]
    for one, text in zip(made, some, strict=True):
        one.begin(text[:depth])
    at, seconds, most, steps = [depth] * len(some), 0.0, 0, 0
    while all(place < len(text) for place, text in zip(at, some, strict=True)):
        rooms = [len(text) - place - 1 for place, text in zip(at, some, strict=True)]
        proposed = slots.propose([*map(Slot, made, rooms)], MOST + 1 - len(some))
        assert sum(map(len, proposed)) <= MOST + 1 - len(some)
        took, taken = ratio(len(some) + sum(map(len, proposed))), []
        for i, (text, guess) in enumerate(zip(some, proposed, strict=True)):
            right = 0
            while right < len(guess) and guess[right] == text[at[i] + right]:
                right += 1
            new = text[at[i] : at[i] + right + 1]
            at[i] += len(new)
            made[i].took(new)
            taken.append(len(new))
        seconds, most, steps = seconds + took, max(most, sum(map(len, proposed))), steps + 1
        slots.ran(made, [*map(len, proposed)], took * float(rng.normal(1, 0.05)), taken)
    plain = ratio(len(some)) * sum(place - depth for place in at) / len(some)
    assert sum(one.report.proposed for one in made) == decision.totals[0].proposed
    return plain / seconds, most


@pytest.mark.parametrize("slope", [0.02, pytest.param(0.1, marks=pytest.mark.slow), 0.3, 1.0])
@pytest.mark.parametrize(
    "number", [2, pytest.param(4, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", ["random", "copies", "breaks"])
def test_never_slower_however_many_answers(kind: str, number: int, slope: float) -> None:
    some = [words(kind, 1000)[i:] for i in range(number)]
    assert speeds(some, lambda n: 1 + slope * (n - 1))[0] >= 0.98


def test_less_is_proposed_the_more_answers_there_are() -> None:
    """Reading weights is shared by more tokens already, and fewer of 16 are left."""
    gains = [speeds([words("copies", 1000)[i:] for i in range(n)], lambda n: 1 + 0.05 * (n - 1)) for n in (1, 2, 4, 8)]
    assert [most for _, most in gains] == [15, 14, 12, 8]
    assert gains[1][0] > 4 and gains[2][0] > 2.5 and gains[3][0] > 1.4
    assert sorted(gains, reverse=True) == gains
    assert speeds([words("copies", 400)[i:] for i in range(16)], lambda n: float(n))[1] == 0


def test_one_text_that_repeats_itself_gains_beside_one_without_order() -> None:
    assert speeds([words("copies", 1000), words("random", 1000)], lambda n: 1 + 0.05 * (n - 1))[0] > 1
