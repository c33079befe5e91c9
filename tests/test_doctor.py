"""The self-test covers every format and finds what is wrong; the facts are what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from output_schemas import validate

from llmlocal.cli import main as cli
from llmlocal.cli.ui import terminal
from llmlocal.doctor import facts as doctor
from llmlocal.doctor import self_test
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.runtime.executor import ThreadTeam

load_all()
FEW = ("F32", "Q4_0", "Q6_K")


def few() -> list[self_test.Trial]:
    """All words, and the formats that other tests compile anyway."""
    skipped = {f"{name} " for name in BY_NAME if name not in FEW}
    return [t for t in self_test.trials() if not any(part in f"{t.name} " for part in skipped)]


def test_every_format_is_tried() -> None:
    names = " ".join(trial.name for trial in self_test.trials())
    for name, fmt in BY_NAME.items():
        wanted = 1 if fmt.activations else 0
        assert names.count(f"rows of {name} ") + names.count(f" {name} times a batch") in (2 * wanted, wanted), name


def test_self_test_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = few()
    assert len(trials) >= 3 * len(FEW) + 6
    monkeypatch.setattr(self_test, "trials", lambda: iter(trials))
    outcomes = list(self_test.self_test(1))
    assert [o.name for o in outcomes] == [t.name for t in trials]
    assert [o for o in outcomes if not o.passed] == []


def test_a_wrong_kernel_is_found() -> None:
    """Against a meaning that is off by a tenth, each trial must fail: it can tell."""
    team = ThreadTeam(1)
    for trial in few():
        wrong = replace(trial, want=trial.want * 1.1)
        assert not self_test.Recorded(wrong).run(team).passed, trial.name
    team.close()


def test_facts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    facts = {fact.name: fact for fact in doctor.facts()}
    assert all(fact.ok is not False for fact in facts.values())  # also that the instruction is in the code
    assert facts["HTTPS_PROXY"].value == "http://...@proxy:1"
    assert not any("secret" in fact.value for fact in facts.values())
    assert {"cpu", "instructions", "cores", "memory", "kernel cache", "python"} <= set(facts)


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path / "file"))
    (fact,) = [fact for fact in doctor._storage() if fact.name == "kernel cache"]
    assert fact.ok is False and "LLMLOCAL_CACHE" in fact.hint


def test_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    trials = [t for t in few() if t.name in ("norm", "add")]
    monkeypatch.setattr(self_test, "trials", lambda: iter(trials))
    monkeypatch.setattr(doctor, "facts", lambda: iter([doctor.Fact("cpu", "fast"), doctor.Fact("disk", "ok", True)]))
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["cpu", "fast"]
    assert out[-1].startswith("✓ self-test") and "2 of 2" in out[-1]
    assert cli.main(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    validate("doctor", said)
    assert (said["schema"], said["ok"], [t["name"] for t in said["self_test"]]) == (1, True, ["norm", "add"])
    monkeypatch.setattr(self_test, "trials", lambda: iter([replace(trials[0], want=trials[0].want + 1)]))
    assert cli.main(["doctor"]) == 1
    assert "failed: norm" in capsys.readouterr().out


def test_facts_break_between_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    value, hint = "numpy 2.4.6, numba 0.68.1, llvmlite 0.50.0", "a hint of many words that a line of fifty cannot hold"
    monkeypatch.setattr(terminal, "is_terminal", lambda: True)
    monkeypatch.setattr(terminal, "columns", lambda stream: 50)
    with terminal.Screen(quiet=True) as screen:
        screen.fact("versions", value, False, hint)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 50 and out.split() == f"✗ versions {value} {hint}".split()


def test_warmup(stories: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["warmup", str(stories / "stories260K-Q8_0.gguf")]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "kernels for" in said.err
    trials = [t for t in few() if t.name == "norm"]
    monkeypatch.setattr(self_test, "trials", lambda: iter(trials))
    assert cli.main(["warmup", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main(["warmup", "no such file"]) == 3
