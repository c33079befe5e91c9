"""What is measured and how it is named, on a scripted engine; figures themselves are nobody's promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
from scripted import ScriptedEngine

from llmlocal.bench import Plan, Row, bench, bytes_per_token, measure
from llmlocal.cli.options import Layout
from llmlocal.cli.tables import bench_table
from llmlocal.engine import Engine
from llmlocal.errors import UsageError
from llmlocal.quant.formats.f32 import F32
from llmlocal.quant.tensor import QTensor


def tensor(name: str, rows: int, k: int) -> QTensor:
    return QTensor(name, F32, (rows, k), memoryview(bytes(4 * rows * k)))


def rows_of(engine: ScriptedEngine, plan: Plan) -> list[Row]:
    engine.gguf.tensors["w"] = tensor("w", 10, 10)
    return list(measure(cast(Engine, engine), plan, lambda n_threads: n_threads * 1e9))


def test_rows_and_work() -> None:
    engine = ScriptedEngine()
    pp, tg = rows_of(engine, Plan(n_prompt=16, n_gen=4, repeats=3))
    assert (pp.name, tg.name, pp.n_threads, len(pp.samples), len(tg.samples)) == ("pp16", "tg4", 2, 3, 3)
    assert engine.calls == [("prefill", 16)] * 4 + [("decode", 1)] * 16  # one of each four does not count
    assert pp.weight_rate is pp.bandwidth_share is None
    assert tg.weight_rate == pytest.approx(tg.mean * 400)
    assert tg.bandwidth_share == pytest.approx(tg.mean * 400 / 2e9)


def test_depth_is_read_once() -> None:
    engine = ScriptedEngine()
    names = [row.name for row in rows_of(engine, Plan(n_prompt=8, n_gen=2, depth=32, repeats=1))]
    assert names == ["pp8 @ d32", "tg2 @ d32"]
    assert engine.calls == [("prefill", 32), *[("prefill", 8)] * 2, *[("decode", 1)] * 4]
    assert engine.length() == 34


@pytest.mark.parametrize(("plan", "name"), [(Plan(n_prompt=0, n_gen=2), "tg2"), (Plan(n_prompt=3, n_gen=0), "pp3")])
def test_zero_leaves_a_test_out(plan: Plan, name: str) -> None:
    assert [row.name for row in rows_of(ScriptedEngine(), plan)] == [name]


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"depth": -1}, {"n_prompt": 0, "n_gen": 0}])
def test_senseless_plans(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Plan(**wrong)


def test_mean_and_deviation() -> None:
    row = Row("pp1", 1, (1.0, 2.0, 3.0))
    assert (row.mean, row.sd, Row("pp1", 1, (5.0,)).sd) == (2, 1, 0)


def test_bytes_read_per_token() -> None:
    tensors = {name: tensor(name, 100, 8) for name in ("token_embd.weight", "blk.0.ffn_up.weight")}
    assert bytes_per_token(tensors) == 2 * 3200  # tied: the embedding is the output too
    tensors["output.weight"] = tensor("output.weight", 100, 8)
    assert bytes_per_token(tensors) == 2 * 3200 + 32


def test_tables() -> None:
    rows = [Row("pp8", 2, (10.0, 12.0)), Row("tg4", 2, (5.0,), 2e9, 0.25)]
    model = Path("a/m.gguf")
    md = list(bench_table(model, rows, Layout.md))
    assert len({line.count("|") for line in md}) == 1
    assert [cell.strip() for cell in md[2].split("|")[1:-1]] == ["m", "2", "pp8", "11.00 ± 1.41", "", ""]
    assert [cell.strip() for cell in md[3].split("|")[1:-1]][3:] == ["5.00 ± 0.00", "2.00", "25%"]
    head, pp, _ = bench_table(model, rows, Layout.csv)
    assert head.split(",")[:3] == ["model", "test", "threads"]
    assert pp.startswith("m,pp8,2,11.0,")
    (text,) = bench_table(model, rows, Layout.json)
    record = json.loads(text)
    assert record["schema"] == 1
    assert record["rows"][1]["weight_bytes_per_second"] == 2e9


def test_real_engine(stories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmlocal.bench.read_bandwidth", lambda n_threads: 1e9)
    plan = Plan(n_prompt=16, n_gen=4, depth=8, repeats=1)
    rows = list(bench(stories / "stories260K-Q8_0.gguf", plan, n_threads=2))
    assert [row.name for row in rows] == ["pp16 @ d8", "tg4 @ d8"]
    assert all(row.mean > 0 for row in rows)
