"""`tools/paired_rounds.py`: what rounds of two ways show, and `tools/bench_speculation.py`, which makes them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from served import tiny  # noqa: F401  a fixture

sys.path.append(str(Path(__file__).parents[1] / "tools"))
paired_rounds, bench_speculation = import_module("paired_rounds"), import_module("bench_speculation")


@pytest.mark.parametrize(("rounds", "bounds"), [(6, (0, 5)), (9, (1, 7)), (20, (5, 14)), (100, (39, 60))])
def test_bounds_of_the_median_are_those_of_the_sign_test(rounds: int, bounds: tuple[int, int]) -> None:
    """The ranks are those of tables (Conover 1999, A3), counted from 0."""
    ratios = np.random.default_rng(1).permutation(rounds).tolist()
    assert paired_rounds.interval(ratios) == bounds
    assert paired_rounds.interval([1.0] * 5) == (0.0, float("inf"))


def test_the_interval_holds_the_median() -> None:
    rng = np.random.default_rng(2)
    held = [low <= 1.0 <= high for low, high in (paired_rounds.interval(rng.normal(1, 0.1, 15)) for _ in range(1000))]
    assert sum(held) >= 940


@pytest.mark.parametrize(
    ("ratios", "known"),
    [
        ([1.2], "0.98?"),
        ([1.2, 1.25, 1.3], ">= 0.98"),
        ([1.0, 1.1, 1.2], "0.98?"),
        ([1.0] * 6, ">= 0.98"),
        ([0.9, 0.95] * 4, "< 0.98"),
        ([0.9, 1.1] * 9, "0.98?"),
    ],
)
def test_what_is_known_of_a_limit(ratios: list[float], known: str) -> None:
    assert paired_rounds.verdict(ratios, 0.98) == known
    assert paired_rounds.in_doubt(ratios, 0.98) is (known != ">= 0.98")


def test_speculation_is_measured_in_rounds(
    tiny: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By counted costs, which are the same each time; with more rounds where the time allows them."""
    for module in (bench_speculation.decoding, bench_speculation.speculation, bench_speculation.sessions):
        monkeypatch.setattr(module, "perf_counter", module.perf_counter)
    how = [str(tiny), "-t", "1", "-n", "12", "--weights", "copy", "--only", "random", "json"]
    bench_speculation.main([*how, "--costs", "2:1.1", "16:3"])
    counted = capsys.readouterr().out
    bench_speculation.main([*how, "--costs", "2:1.1", "16:3"])
    assert capsys.readouterr().out == counted and "1 rounds" in counted and "token by token" in counted
    bench_speculation.main([*how[:-1], "--wall", "-r", "2", "--minutes", "0.001"])
    out = capsys.readouterr().out
    assert "After all rounds:" in out and "2 rounds" in out
