"""Proposed tokens: the text is that of plain decoding, and what does not pay is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import CONTEXT, answered

from llmlocal.chat_format.prompt import Prompt
from llmlocal.constraints.grammar import of_schema
from llmlocal.engine import Engine
from llmlocal.errors import BadFileError
from llmlocal.generation.sampler import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.speculation.acceptance import AGREEMENTS, Acceptance
from llmlocal.speculation.cost_file import FEWEST_RUNS, CostFile
from llmlocal.speculation.costs import Costs
from llmlocal.speculation.decision import MARGIN, Decision
from llmlocal.speculation.ngram import LONGEST
from llmlocal.speculation.speculation import MOST, Speculation

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model, check_speculated_texts = import_module("make_model"), import_module("check_speculated_texts")
GREEDY = SamplingParams(temperature=0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    make_model.make_model("tiny-llama-256", path := tmp_path_factory.mktemp("spec") / "m.gguf", form="Q4_K")
    return path


def prompts(n: int) -> list[list[int]]:
    """Prompts that repeat themselves, more or less, some longer than a chunk of the KV cache."""
    some: list[list[int]] = check_speculated_texts.prompts(n, 400)
    return some


def check_texts(
    path: Path, some: Sequence[Sequence[int]], params: Sequence[SamplingParams], threads: int, **how: Any
) -> Any:
    """Answers with and without proposals are the same; returns how many tokens were proposed and accepted."""
    proposed = accepted = 0
    with (
        Session.open(path, n_ctx=CONTEXT, n_threads=1, **how) as plain,
        Session.open(path, n_ctx=CONTEXT, n_threads=threads, speculate="ngram", **how) as other,
    ):
        for ids in some:
            for param in params:
                (wanted, end), (got, told) = answered(plain, ids, param), answered(other, ids, param)
                assert got == wanted and (told.reason, end.speculation.proposed) == (end.reason, 0)
                proposed, accepted = proposed + told.speculation.proposed, accepted + told.speculation.accepted
    return proposed, accepted


@pytest.mark.parametrize(
    "how", [{"weights": "copy"}, {"weights": "map"}, {"weights": "copy", "kv_type": "q8_0"}], ids=str
)
def test_the_text_is_that_of_plain_decoding(tiny: Path, how: dict[str, str]) -> None:
    """A model of random weights soon repeats itself, so that proposals come true; with a temperature they do not."""
    seeds = [SamplingParams(temperature=t, seed=i) for i, t in enumerate((0.3, 1.0))]
    proposed, accepted = check_texts(tiny, prompts(3), [GREEDY, *seeds], 2, **how)
    assert 0 < accepted < proposed


def test_texts_are_checked_in_every_way(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tools/check_speculated_texts.py` counts them, and finds a wrong one."""
    how = [str(tiny), "-n", "2", "--seeds", "1", "-t", "1", "2", "--speculate", "ngram"]
    assert check_speculated_texts.main(how) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["ngram  1 threads", "ngram  2 threads"]
    assert all(": 4 answers, " in line and " 0 of " not in line for line in lines)
    verify = Engine.verify_parts
    monkeypatch.setattr(Engine, "verify_parts", lambda *asked: np.flip(verify(*asked), axis=1))
    assert check_speculated_texts.main(how) == 1
    assert capsys.readouterr().err.startswith("ngram, 1 threads: ")


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("shape", "form"),
    [
        ("tiny-llama-256", "Q4_0"),
        ("tiny-llama-256", "Q6_K"),
        ("tiny-qwen3moe-256", "Q4_K"),
        ("tiny-gemma3-256", "Q8_0"),
    ],
)
def test_the_text_of_many_prompts(tmp_path: Path, shape: str, form: str, threads: int) -> None:
    """200 prompts, a quarter of them for each number of threads, greedy and with five seeds."""
    make_model.make_model(shape, path := tmp_path / "m.gguf", form=form)
    seeds = [SamplingParams(temperature=0.2 + 0.3 * seed, seed=seed) for seed in range(5)]
    proposed, accepted = check_texts(path, prompts(200)[threads - 1 :: 4], [GREEDY, *seeds], threads, weights="copy")
    assert 0 < accepted < proposed


def test_limits_forms_and_probabilities_are_those_of_plain_decoding(tiny: Path) -> None:
    """Stop strings, forms of answers with their forced tokens, log probabilities, penalties, Mirostat."""
    cases: list[tuple[SamplingParams, dict[str, Any]]] = [
        (GREEDY, {"logprobs": 3}),
        (GREEDY, {"stop": ["e", "th"]}),
        (
            SamplingParams(temperature=0.4, seed=1),
            {"grammar": of_schema({"type": "array", "items": {"const": "abcabc"}})},
        ),
        (SamplingParams(seed=2, mirostat=2, repeat_penalty=1.05), {}),
        (SamplingParams(seed=3, dry_multiplier=0.1, xtc_probability=0.2), {"logprobs": 0}),
    ]
    with (
        Session.open(tiny, n_ctx=CONTEXT, n_threads=2, weights="copy") as plain,
        Session.open(tiny, n_ctx=CONTEXT, n_threads=2, weights="copy", speculate="ngram") as other,
    ):
        for params, more in cases:
            for ids in prompts(2):
                assert answered(other, ids, params, **more)[0] == answered(plain, ids, params, **more)[0], more


def test_answers_end_where_the_context_is_full(tiny: Path) -> None:
    for speculate in ("off", "ngram"):
        with Session.open(tiny, n_ctx=64, n_threads=2, weights="copy", speculate=speculate) as session:
            _, end = answered(session, [5, 6, 7] * 12, SamplingParams(temperature=0, logit_bias={2: -np.inf}))
            assert (end.reason, end.generated_tokens, session.engine.length()) == ("context", 29, 64)


@pytest.mark.parametrize("copied", [True, False])
def test_so_many_tokens_have_the_same_bits_together(tiny: Path, copied: bool) -> None:
    """`Engine.same_bits` promises it; also where attention is over several chunks of the cache."""
    engine = Engine.open(tiny, n_ctx=CONTEXT, n_threads=2, max_outputs=MOST + 1, copy_weights=copied)
    ids = np.random.default_rng(3).integers(3, 400, 340).tolist()
    for start in (30, 250, 300):
        engine.truncate(0)
        engine.prefill(ids[:start])
        some = ids[start : start + min(engine.same_bits, MOST + 1)]
        single = [engine.decode(id).tobytes() for id in some]
        assert len(some) > 1 if copied else engine.same_bits < MOST
        engine.truncate(start)
        assert [row.tobytes() for row in engine.verify(some)] == single
    engine.close()


def test_an_answer_that_is_left_in_the_middle_leaves_no_proposals(tiny: Path) -> None:
    ids = [5, 6, 7, 8] * 5
    with Session.open(tiny, n_ctx=CONTEXT, n_threads=1, weights="copy", speculate="ngram") as session:
        wanted, _ = answered(session, ids, GREEDY)
        for n in range(1, len(wanted), 3):
            events = session.answer(Prompt("", ids, True), sampling=GREEDY)
            assert [next(events) for _ in range(n)] == wanted[:n]
            events.close()
            assert session.engine.history() == [*ids, *(token.id for token in wanted[: n - 1])]


def test_it_is_said_why_nothing_is_proposed() -> None:
    resting = Speculation(Decision(always=True), 1, "weights are mapped")
    resting.begin([1, 2, 3, 1, 2])
    assert resting.propose(5) == [] and resting.report.resting == "weights are mapped"


def test_damage_is_found_in_what_is_accepted_only(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits that are not finite are an error where they choose a token, as without proposals."""
    verify = Engine.verify_parts

    def damaged(at: int) -> Callable[..., Any]:
        def run(engine: Engine, parts: Any, outputs: Sequence[int]) -> Any:
            logits = verify(engine, parts, outputs)
            logits[at] = np.nan
            return logits

        return run

    ids = [5, 6, 7, 8] * 5
    with Session.open(tiny, n_ctx=CONTEXT, n_threads=1, weights="copy", speculate="ngram") as session:
        wanted, _ = answered(session, ids, GREEDY)
        monkeypatch.setattr(Engine, "verify_parts", damaged(0))
        with pytest.raises(BadFileError, match="not finite"):
            answered(session, ids, GREEDY)
        monkeypatch.setattr(Engine, "verify_parts", verify)
        assert answered(session, ids, GREEDY)[0] == wanted


# ---- the parts -----------------------------------------------------------------------------------------------------


def test_a_later_answer_profits_from_an_earlier_one(tiny: Path) -> None:
    with Session.open(tiny, n_ctx=CONTEXT, n_threads=1, weights="copy", speculate="ngram") as session:
        params = SamplingParams(temperature=1.0, seed=1)
        first = answered(session, range(40, 50), params)[1].speculation
        again = answered(session, range(40, 50), params)[1].speculation
        assert again.accepted >= 2 * first.accepted > 0


def test_acceptance_follows_what_comes_true() -> None:
    acceptance = Acceptance()
    for _ in range(200):
        acceptance.saw(2, False)
        acceptance.saw(AGREEMENTS[-1], True)
    assert acceptance.chance(2) < 0.01 and acceptance.chance(LONGEST) > 0.99
    assert acceptance.chances(2, 2) == [acceptance.chance(2), acceptance.chance(2) * acceptance.chance(3)]


def test_costs_are_ratios_to_a_single_token() -> None:
    costs = Costs()
    assert costs.stale and costs.single == 0
    for _ in range(20):
        costs.took(1, 2.0)
        costs.took(5, 6.0)
    assert costs.single == 2.0 and not costs.stale and costs.measured == {5: 3.0}
    assert costs.ratios(7) == [1.0, 1.5, 2.0, 2.5, 3.0, 3.375, 3.75]
    for _ in range(100):
        costs.took(5, 6.0)
    assert costs.stale


def test_costs_are_kept_and_what_is_wrong_is_not_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path / "cache"))
    file, costs = CostFile("a model"), Costs()
    costs.took(1, 1.0)
    for _ in range(FEWEST_RUNS):
        file.save(costs)
        assert not file.path.exists()
        costs.took(3, 2.0)
    file.save(costs)
    assert CostFile("a model").load().measured == {3: 2.0} and CostFile("another").load().measured == {}
    for text in (
        '{"3": -1}',
        '{"1": 2}',
        '{"3": "x"}',
        "[]",
        "{",
        '{"3": 1e999}',
        '{"3": NaN}',
        json.dumps({"900": 2.0}),
        json.dumps({"3": 10**400}),
    ):
        file.path.write_text(text)
        assert file.load().measured == {}, text


# ---- the decision, by a clock of its own ---------------------------------------------------------------------------


def words(kind: str, n: int) -> list[int]:
    """Tokens of a text: without order, of one passage again and again, or of passages that break off."""
    rng = np.random.default_rng(1)
    if kind == "random":
        return rng.integers(0, 50, n).tolist()
    if kind == "copies":
        return np.resize(rng.permutation(300), n).tolist()
    passage, starts = rng.permutation(200), rng.integers(0, 190, n // 4)
    return [int(id) for at in starts for id in (*passage[at : at + 6], 500 + at)][:n]


def speed(
    text: Sequence[int], ratio: Callable[[int], float], noise: float = 0.05, depth: int = 300
) -> tuple[float, int]:
    """How many times as fast a text is generated as token by token, and how many tokens were accepted."""
    rng, speculation = np.random.default_rng(2), Speculation(Decision(), MOST + 1)
    speculation.begin(text[:depth])
    at, seconds = depth, 0.0
    while at < len(text):
        proposed = speculation.propose(len(text) - at - 1)
        took = ratio(1 + len(proposed))
        right = 0
        while right < len(proposed) and proposed[right] == text[at + right]:
            right += 1
        taken = text[at : at + right + 1]
        seconds, at = seconds + took, at + len(taken)
        speculation.took(taken)
        speculation.ran(len(proposed), took * float(rng.normal(1, noise)), len(taken))
    return (len(text) - depth) / seconds, speculation.report.accepted


@pytest.mark.parametrize("kind", ["random", "copies", "breaks"])
@pytest.mark.parametrize("slope", [0.02, 0.3, 0.6, 1.0, 2.0])
def test_never_slower_whatever_a_run_costs(kind: str, slope: float) -> None:
    """At least 0.98 times as fast as plain decoding, for any text and any cost of several tokens."""
    gain, _ = speed(words(kind, 1300), lambda n: 1 + slope * (n - 1))
    assert gain >= 0.98


def test_faster_where_it_pays() -> None:
    """A text that is copied, where several tokens cost little more than one; and a step in the costs."""
    copies = words("copies", 1300)
    assert speed(copies, lambda n: 1 + 0.05 * (n - 1))[0] > 6
    assert speed(copies, lambda n: 1 + 0.6 * (n - 1))[0] > 1.3
    assert speed(copies, lambda n: 1.2 if n <= 4 else 3.0 + n)[0] > 1.4
    assert speed(words("random", 1300), lambda n: 1 + 0.05 * (n - 1))[1] < 30


def test_a_proposer_that_rests_is_tried_again() -> None:
    """After a text without order, in which it lost, the passage that is copied is noticed."""
    text = [*words("random", 900), *words("copies", 1200)]
    assert speed(text, lambda n: 1 + 0.1 * (n - 1))[0] > 1.5


def test_a_cost_that_was_measured_in_a_bad_moment_is_measured_again() -> None:
    costs = Costs({2: 50.0, 3: 60.0})
    speculation = Speculation(Decision(costs), MOST + 1)
    speculation.begin([*range(40), *range(40)])
    ids = [*range(40)] * 20
    assert not any(_step(speculation, [id]) for id in ids[:100])
    assert any(_step(speculation, [id]) for id in ids[100:160])


def _step(speculation: Speculation, taken: list[int]) -> list[int]:
    proposed = speculation.propose(10)
    speculation.took(taken)
    speculation.ran(0, 1.0, len(taken))
    return proposed


def test_what_is_expected_to_gain_too_little_is_not_proposed() -> None:
    costs = Costs({size: 1 + (size - 1) / MARGIN for size in range(2, MOST + 2)})
    speculation = Speculation(Decision(costs), MOST + 1)
    speculation.begin([*range(40), *range(40)])
    for id in range(20):
        speculation.took([id])
        speculation.ran(0, 1.0, 1)
    assert speculation.propose(10) == []
    always = Speculation(Decision(always=True), 4)
    always.begin([*range(40), *range(5)])
    assert always.propose(10) == [5, 6, 7] and always.propose(2) == [5, 6] and always.propose(0) == []


def test_off_proposes_nothing(tiny: Path) -> None:
    with Session.open(tiny, n_ctx=64, n_threads=1) as session:
        assert session.speculate == "off" and not session.speculation.works
