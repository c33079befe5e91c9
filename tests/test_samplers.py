"""Samplers against llama.cpp's on the same logits, in tests/golden/samplers.json (tools/make_sampler_goldens.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import EOS, WORDS, word
from vocabularies import spm

from llmlocal import tokenizer as tokenizers
from llmlocal.errors import UsageError
from llmlocal.generation.sampler import Sampler
from llmlocal.generation.samplers.ban import Ban
from llmlocal.generation.samplers.dry import dry
from llmlocal.generation.samplers.mirostat import Mirostat
from llmlocal.generation.samplers.softmax import softmax
from llmlocal.generation.samplers.xtc import xtc
from llmlocal.generation.sampling_params import STAGES, SamplingParams
from llmlocal.generation.token_texts import in_ids

GOLDEN = json.loads((Path(__file__).parent / "golden" / "samplers.json").read_text())
OFF: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


@pytest.mark.parametrize("case", [*GOLDEN["singles"], *GOLDEN["chains"]], ids=lambda case: str(case["params"]))
def test_probabilities_are_llama_cpps(case: dict[str, Any]) -> None:
    p = SamplingParams(**{**OFF, **case["params"]}, stages=case.get("stages", STAGES), seed=1)
    got = Sampler(p).probabilities(np.array(case["logits"], np.float32))
    np.testing.assert_allclose(got, case["probabilities"], atol=2e-6)
    assert got[np.array(case["probabilities"]) == 0].max(initial=0) < 1e-9  # nine digits are kept


@pytest.mark.parametrize("case", GOLDEN["mirostat"], ids=lambda case: f"{case['version']} {case['tau']}")
def test_mirostat_keeps_what_llama_cpp_keeps(case: dict[str, Any]) -> None:
    """At every step, by the tokens that llama.cpp has drawn before it."""
    ours = Mirostat(case["version"], case["tau"], case["eta"])
    for step in case["steps"]:
        logits = np.array(step["logits"])
        kept = ours.kept(logits, logits.size)
        assert kept.tolist() == step["kept"]
        ours.saw(softmax(logits[kept])[kept.tolist().index(step["drawn"])])


@pytest.mark.parametrize("case", GOLDEN["dry"], ids=lambda case: str(case["params"]))
def test_dry_penalties_are_llama_cpps(case: dict[str, Any]) -> None:
    logits, zero = np.zeros(48, np.float32), SamplingParams(**OFF)
    p = SamplingParams(**OFF, **case["params"])
    powers = Sampler(p).probabilities(logits, case["history"]) / Sampler(zero).probabilities(logits)
    free = next(id for id in range(48) if str(id) not in case["penalties"])
    got = {str(id): np.log(powers[free] / powers[id]) for id in range(48)}
    for id, penalty in got.items():
        assert penalty == pytest.approx(case["penalties"].get(id, 0.0), abs=1e-4)


def test_dry_by_hand() -> None:
    """`a b c` came before `d` and before `e`; a breaker ends what counts as a repetition."""
    a, b, c, d, e, stop = range(6)
    history = [a, b, c, d, stop, b, c, e, a, b, c]
    assert dry(history, 1.0, 2.0, 2, {stop}) == {d: 2.0, e: 1.0}
    assert dry([*history[:8], stop, b, c], 1.0, 2.0, 2, {stop}) == {d: 1.0, e: 1.0}
    assert dry(history, 1.0, 2.0, 4, {stop}) == {} == dry([a], 1.0, 2.0, 1, frozenset())
    for multiplier, base in ((1.0, 2.0), (100.0, 100.0)):
        assert dry([a] * 500, multiplier, base, 1, frozenset())[a] < np.finfo(np.float32).max


def test_xtc_is_drawn_now_and_then() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
    assert xtc(logits, 0.15, 0.5, 0.49).tolist() == [False, False, True, True]
    assert xtc(logits, 0.15, 0.5, 0.5).all() and xtc(logits, 0.35, 1.0, 0.0).all()
    sampler = Sampler(SamplingParams(**OFF, xtc_probability=0.25, xtc_threshold=0.15, seed=3))
    excluded = [sampler.probabilities(logits.astype(np.float32), (), step)[0] == 0 for step in range(400)]
    assert 60 < sum(excluded) < 140
    assert [sampler.probabilities(logits.astype(np.float32), (), step)[0] == 0 for step in range(400)] == excluded


def test_mirostat_reaches_its_target() -> None:
    logits = np.random.default_rng(0).standard_normal(5000).astype(np.float32) * 4
    for version in (1, 2):
        sampler = Sampler(SamplingParams(**OFF, mirostat=version, mirostat_tau=3.0, seed=1))
        chances = softmax(logits.astype(np.float64))
        surprises = [-np.log2(chances[sampler.sample(logits, (), step)]) for step in range(600)]
        assert np.mean(surprises[100:]) == pytest.approx(3.0, abs=1.6)


def test_stages_that_are_not_named_are_left_out() -> None:
    logits = np.array([3, 2, 1, 0], np.float32)
    p = SamplingParams(temperature=0.5, top_k=2, top_p=1.0, min_p=0.0, stages=("temperature",))
    np.testing.assert_allclose(Sampler(p).probabilities(logits), softmax(logits.astype(np.float64) / 0.5))
    for stages in (("top_q",), ("top_k", "top_k")):
        with pytest.raises(UsageError, match="order of samplers is"):
            SamplingParams(stages=stages)


# ---- texts ---------------------------------------------------------------------------------------------------------


def test_a_banned_text_never_occurs() -> None:
    """In whatever tokens, and no more is forbidden than that."""
    pieces = [b"a", b"b", b"ab", b"ba", b"aba", b"c", b""]
    ban = Ban([b"aba", b"cc"], pieces)

    def forbidden(*said: int) -> list[int]:
        logits = np.zeros(len(pieces), np.float32)
        ban.forbid(logits, said)
        return np.flatnonzero(np.isinf(logits)).tolist()

    assert forbidden() == [4] and forbidden(0) == [3, 4] and forbidden(2) == [0, 2, 4] and forbidden(0, 1) == [0, 2, 4]
    assert forbidden(5) == [4, 5] and forbidden(5, 6) == [4, 5]
    rng, said = np.random.default_rng(0), list[int]()
    sampler = Sampler(SamplingParams(**OFF, ban=ban, seed=1))
    for step in range(300):
        said.append(sampler.sample(rng.standard_normal(len(pieces)).astype(np.float32), [2, *said], step))
    text = b"".join(pieces[id] for id in said)
    assert b"aba" not in text and b"cc" not in text and b"ab" in text


def test_texts_become_ids() -> None:
    tokenizer = tokenizers.load(spm(*WORDS))
    found = in_ids({"bias": ["d=2", "13=-inf"], "dry_multiplier": 1.0, "breakers": ["nd"], "top_k": 3}, tokenizer)
    assert found["logit_bias"] == {word("d"): 2.0, 13: -np.inf} and found["top_k"] == 3
    assert found["dry_breakers"] == {word("end")} and "breakers" not in found
    with pytest.raises(UsageError, match="the text is 2 tokens"):
        in_ids({"bias": ["ed=1"]}, tokenizer)


def test_options_of_samplers(said: Any, scripted: Any) -> None:
    base = ("run", "m", "hi", "--no-stdin", "-q", "--temp", "0", "-n", "3")
    for words, answer in (
        (["--ban", "de"], "d"),
        (["--logit-bias", "d=-inf", "--ban", "zz"], ""),
        (["--samplers", "top_k,temperature"], "de"),
        (["--samplers", "temperature", "--mirostat", "2", "--top-k", "0"], "de"),
    ):
        scripted(word("d"), word("e"), EOS)
        code, out, _ = said(*base, *words)
        assert code == 0 and out.startswith(answer) and ("de" in out) == (answer == "de")
    for words, told in (
        (["--logit-bias", "d"], "must be TOKEN=VALUE"),
        (["--logit-bias", "9" * 5000 + "=1"], "the text is"),
        (["--ban", ""], "is empty"),
        (["--samplers", "top_q"], "the order of samplers is top_q"),
        (["--mirostat", "3"], "mirostat is 3"),
        (["--mirostat", "2", "--top-k", "40"], "top_k has no effect with mirostat"),
        (["--mirostat", "1", "--xtc-probability", "0.5"], "xtc_probability has no effect with mirostat"),
        (["--mirostat", "2", "--samplers", "temperature,min_p"], "min_p has no effect with mirostat"),
        (["--samplers", "top_k,temperature", "--min-p", "0.1"], "min_p has no effect: --samplers leaves it out"),
        (["--mirostat-tau", "3"], "mirostat_tau has no effect without mirostat"),
        (["--xtc-threshold", "0.2"], "xtc_threshold has no effect without xtc_probability"),
        (["--dynatemp-exponent", "2"], "dynatemp_exponent has no effect without dynatemp_range"),
        (["--dry-base", "2", "--dry-multiplier", "0"], "dry_base has no effect without dry_multiplier"),
        (["--dry-breaker", "x"], "--dry-breaker has no effect without --dry-multiplier"),
    ):
        code, _, err = said(*base, *words)
        assert code == 2 and told in err
