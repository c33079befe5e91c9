"""What is measured and how it is named, on a scripted engine; figures themselves are nobody's promise."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from naive import run
from scripted import ScriptedEngine

from llmlocal.cli.choices import Layout
from llmlocal.cli.views.bench import bench_charts, bench_table, collect, proposal_lines
from llmlocal.engine import Engine
from llmlocal.errors import BadFileError, NotFoundError, UsageError
from llmlocal.measure import baseline, roofline
from llmlocal.measure.bench import BenchPlan, BenchResult, bench, measure, pairs_of, thread_counts, token_counts
from llmlocal.model_info import machine as memory_of_machine
from llmlocal.model_info.work import work as token_work
from llmlocal.ops import bandwidth
from llmlocal.ops.multiply_peak import VECTORS, Numbers, multiplied_as, multiply_peak_kernel
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.jit.cpu import target
from llmlocal.quant.tensor import QTensor
from llmlocal.speculation.speculation import ProposerReport

load_all()
MODEL = Path("a/m.gguf")
measured_bandwidth = roofline.read_bandwidth


def tensor(name: str, *shape: int, fmt: str = "F32") -> QTensor:
    rows, k = shape[:-1], shape[-1]
    size = BY_NAME[fmt].row_bytes(k)
    for n in rows:
        size *= n
    return QTensor(name, BY_NAME[fmt], shape, memoryview(bytes(size)))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that reads 1 GB/s and multiplies 1e6 times a second, with each thread."""
    monkeypatch.setattr(roofline, "read_bandwidth", lambda n_threads: n_threads * 1e9)
    monkeypatch.setattr(roofline, "multiply_peak", lambda n_threads, numbers: n_threads * 1e6)


def rows_of(engine: ScriptedEngine, plan: BenchPlan) -> list[BenchResult]:
    engine.gguf.tensors["w"] = tensor("w", 10, 10)
    return list(measure(cast(Engine, engine), MODEL, plan))


def row(name: str = "pp1", samples: tuple[float, ...] = (1.0,), **more: Any) -> BenchResult:
    return replace(BenchResult(MODEL, name, 2, samples), **more)


def test_rows_and_work() -> None:
    engine = ScriptedEngine()
    pp, tg = rows_of(engine, BenchPlan(prompts=(16,), gens=(4,), repeats=3))
    assert (pp.name, tg.name, pp.n_threads, len(pp.samples), len(tg.samples)) == ("pp16", "tg4", 2, 3, 3)
    assert engine.calls == [("prefill", 16)] * 4 + [("decode", 1)] * 16  # one of each four does not count
    assert pp.weight_rate is pp.bandwidth_share is pp.multiply_rate is pp.limit is None
    assert tg.weight_rate == pytest.approx(tg.mean * 400)
    assert tg.bandwidth_share == pytest.approx(tg.mean * 400 / 2e9)


def test_prompt_and_answer_in_one_test() -> None:
    engine = ScriptedEngine()
    (both,) = rows_of(engine, BenchPlan(prompts=(0,), gens=(0,), pairs=((8, 3),), repeats=1))
    assert both.name == "pp8+tg3"
    assert engine.calls == [("prefill", 8), *[("decode", 1)] * 3] * 2
    assert both.weight_rate is None


def test_depth_is_read_once() -> None:
    engine = ScriptedEngine()
    names = [row.name for row in rows_of(engine, BenchPlan(prompts=(8,), gens=(2,), depths=(32,), repeats=1))]
    assert names == ["pp8 @ d32", "tg2 @ d32"]
    assert engine.calls == [("prefill", 32), *[("prefill", 8)] * 2, *[("decode", 1)] * 4]
    assert engine.length() == 34


def test_lists_of_tests() -> None:
    engine = ScriptedEngine(n_ctx=128)
    plan = BenchPlan((8, 16, 8), (0, 2), ((4, 1),), (32, 0), repeats=1)
    names = ["pp8", "pp16", "tg2", "pp4+tg1"]
    assert [row.name for row in rows_of(engine, plan)] == [*names, *(f"{name} @ d32" for name in names)]
    assert plan.n_ctx == 48
    assert engine.calls.count(("prefill", 32)) == 1
    assert token_counts("-p", ["512,2912", "7"]) == (512, 2912, 7)
    for wrong in ("", "a", "1,", "-1", "1.5", "²", "9" * 30):
        with pytest.raises(UsageError, match="-p"):
            token_counts("-p", ["3", wrong])


def test_each_test_is_told_before_it_begins() -> None:
    plan, told, rows = BenchPlan((8, 16), (2,), depths=(4, 0, 4), repeats=1), list[str](), list[BenchResult]()
    for row in collect(rows_of(ScriptedEngine(n_ctx=128), plan), rows, plan.rows, told.append):
        assert row is rows[-1] and told[-1] == f"test {len(rows)} of 6"
    assert len(told) == len(rows) == 6


@pytest.mark.parametrize(
    ("plan", "name"), [(BenchPlan(prompts=(0,), gens=(2,)), "tg2"), (BenchPlan(prompts=(3,), gens=(0,)), "pp3")]
)
def test_zero_leaves_a_test_out(plan: BenchPlan, name: str) -> None:
    assert [row.name for row in rows_of(ScriptedEngine(), plan)] == [name]


@pytest.mark.parametrize(
    "wrong", [{"repeats": 0}, {"depths": (-1,)}, {"prompts": (0,), "gens": ()}, {"pairs": ((3, 0),)}]
)
def test_senseless_plans(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        BenchPlan(**wrong)


def test_mean_and_deviation() -> None:
    some = row(samples=(1.0, 2.0, 3.0))
    assert (some.mean, some.sd, row(samples=(5.0,)).sd) == (2, 1, 0)


# ---- limits --------------------------------------------------------------------------------------------------------


def test_work_of_a_token() -> None:
    tensors = {name: tensor(name, 100, 8) for name in ("token_embd.weight", "blk.0.ffn_up.weight")}
    tied = token_work(tensors, {})
    assert (tied.nbytes, tied.multiply_adds, tied.numbers) == (2 * 3200, 800, "float32")
    tensors["output.weight"] = tensor("output.weight", 100, 8)
    tensors["blk.0.ffn_norm.weight"] = tensor("blk.0.ffn_norm.weight", 8)
    untied = token_work(tensors, {})
    assert (untied.nbytes, untied.multiply_adds) == (2 * 3200 + 32 + 32, 800)


def test_what_prompts_multiply() -> None:
    """Of two formats in a model the one of most multiply-adds counts."""
    half = {"a": tensor("a", 9, 32, fmt="F16"), "b": tensor("b", 8, 32, fmt="Q8_0")}
    assert token_work(half, {}).numbers == "float16"
    assert [multiplied_as("float16", isa) for isa in ("avx2", "avx512", "neon")] == ["int16", "int16", "float32"]
    assert [multiplied_as(numbers, "avx2") for numbers in ("int8", "float32")] == ["int8", "float32"]


@pytest.mark.parametrize(("numbers", "one"), [("int16", np.int16), ("float32", np.float32)])
def test_the_peak_is_of_real_products(numbers: Numbers, one: type) -> None:
    data, sums, rounds = np.ones(8192, one), np.zeros(1024, np.uint8), 5
    run(multiply_peak_kernel(numbers), data=data, iterations=rounds, sums=sums)
    isa = import_module(f"llmlocal.quant.isa.{target().isa}")
    found = sums.view(np.int32 if numbers == "int16" else np.float32)
    chains = isa.LANES * isa.FLOAT_TOKENS * isa.FLOAT_TILES
    each = rounds * VECTORS // isa.FLOAT_TILES * (2 if numbers == "int16" else 1)
    assert (found[:chains] == each).all() and not found[chains:].any()


def test_experts_count_as_they_are_chosen() -> None:
    name = "blk.0.ffn_up_exps.weight"
    metadata = {"general.architecture": "moe", "moe.expert_count": 8, "moe.expert_used_count": 2}
    work = token_work({name: tensor(name, 8, 4, 32, fmt="Q8_0")}, metadata)
    assert (work.nbytes, work.multiply_adds, work.numbers) == (8 * 4 * 34 / 4, 8 * 4 * 32 / 4, "int8")


def test_limits_are_said() -> None:
    pp, tg = rows_of(ScriptedEngine(), BenchPlan(prompts=(4,), gens=(2,), repeats=1, roofline=True))
    assert pp.multiply_rate == pytest.approx(pp.mean * 100)
    assert pp.multiply_share == pytest.approx(pp.mean * 100 / 2e6)
    assert pp.limit and "float32 multiply-adds" in pp.limit
    assert tg.limit and "2 threads" in tg.limit
    said = [roofline.decode_limit("tg", share, 1) for share in (0.9, 0.6, 0.1)]
    assert ["faster memory" in line for line in said] == [True, False, False]
    assert "compute-bound" in said[2]


@pytest.mark.parametrize(("text", "counts"), [(None, [None]), ("4", [4]), ("1,2,4", [1, 2, 4])])
def test_thread_counts(text: str | None, counts: list[int | None]) -> None:
    assert thread_counts(None if text is None else [text]) == counts


def test_all_thread_counts_that_make_sense() -> None:
    assert roofline.thread_sweep(6, 12) == [1, 2, 4, 6, 8, 12]
    assert roofline.thread_sweep(1, 1) == [1]
    assert (thread_counts(["auto"])[0] or 0) == 1


@pytest.mark.parametrize("text", ["0", "a", "1,", "", "-1", "5000"])
def test_senseless_thread_counts(text: str) -> None:
    with pytest.raises(UsageError):
        thread_counts([text])


def test_pairs() -> None:
    assert (pairs_of(None), pairs_of(["512,128", "1,2"])) == ((), ((512, 128), (1, 2)))
    for text in ("512", "a,b", "1,2,3", "-1,2", f"1,{10**30}"):
        with pytest.raises(UsageError):
            pairs_of([text])


# ---- layouts -------------------------------------------------------------------------------------------------------


def test_tables() -> None:
    rows = [row("pp8", (10.0, 12.0)), row("tg4", (5.0,), weight_rate=2e9, bandwidth_share=0.25)]
    md = list(bench_table(rows, Layout.md))
    assert len({line.count("|") for line in md}) == 1
    assert [cell.strip() for cell in md[2].split("|")[1:-1]] == ["m", "2", "pp8", "11.00 ± 1.41", "", ""]
    assert [cell.strip() for cell in md[3].split("|")[1:-1]][3:] == ["5.00 ± 0.00", "2.00", "25%"]
    head, pp, _ = csv.reader(bench_table(rows, Layout.csv))
    assert (head[:3], pp[:3]) == (["model", "test", "threads"], ["m", "pp8", "2"])
    (text,) = bench_table(rows, Layout.json)
    record = json.loads(text)
    assert record["schema"] == 1
    assert record["rows"][1]["weight_bytes_per_second"] == 2e9
    lines = [json.loads(line) for line in bench_table(rows, Layout.jsonl)]
    assert [(line["schema"], line["test"]) for line in lines] == [(1, "pp8"), (1, "tg4")]
    assert [{**record} for record in record["rows"]] == [{k: v for k, v in x.items() if k != "schema"} for x in lines]


def test_peak_has_columns_of_its_own() -> None:
    head, _, line = bench_table([row("pp8", multiply_rate=3e11, multiply_share=0.5)], Layout.md, peak=True)
    assert len(head) == len(line)
    assert [cell.strip() for cell in line.split("|")[1:-1]][4:] == ["", "", "300", "50%"]


def test_charts() -> None:
    rows = [replace(row("tg4", (speed,)), n_threads=n) for n, speed in ((1, 5.0), (2, 10.0))]
    (chart,) = bench_charts([*rows, row("pp8")])
    assert chart.title == "tg4, tokens/s"
    assert [bar[1:] for bar in chart.bars] == [(5.0, "5.0"), (10.0, "10.0")]


# ---- a baseline ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [Layout.json, Layout.jsonl])
def test_changes_since_a_baseline(layout: Layout, tmp_path: Path) -> None:
    file = tmp_path / "b"
    file.write_text("\n".join(bench_table([row("pp8", (100.0,)), row("tg4", (10.0,))], layout)))
    now = [row("pp8", (96.0,)), row("tg4", (9.4,)), row("tg9", (1.0,))]
    found = baseline.changes(now, baseline.read(file))
    assert [(c.row.name, round(c.ratio, 2)) for c in found] == [("pp8", 0.96), ("tg4", 0.94)]
    assert [c.row.name for c in baseline.slower(found, 5)] == ["tg4"]
    with pytest.raises(UsageError, match="none of these tests"):
        baseline.changes([row("other")], baseline.read(file))


LARGE = {"model": "m", "test": "pp8", "threads": 1, "kv_type": "f16", "tokens_per_second": 10**400}


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[]", "3", "null", '{"rows": 3}', '{"rows": [{}]}', '{"rows": [{"model": 1}]}', "[" * 100_000),
        json.dumps(LARGE),
    ],
)
def test_files_that_are_no_baseline(text: str, tmp_path: Path) -> None:
    (tmp_path / "b").write_text(text)
    with pytest.raises(BadFileError, match="not a benchmark"):
        baseline.read(tmp_path / "b")


def test_no_baseline(tmp_path: Path) -> None:
    for wrong, kind in ((tmp_path, BadFileError), (tmp_path / "a\nb\x1b[2J", NotFoundError)):
        with pytest.raises(kind) as error:
            baseline.read(wrong)
        assert str(error.value).isprintable()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="an endless file of POSIX systems")
def test_an_endless_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "LARGEST", 1 << 16)
    with pytest.raises(BadFileError, match="too large"):
        baseline.read(Path("/dev/zero"))


@pytest.mark.parametrize(("text", "value"), [("5%", 5), ("2.5", 2.5), ("0%", 0)])
def test_percentages(text: str, value: float) -> None:
    assert baseline.percentage(text) == value


@pytest.mark.parametrize("text", ["", "%", "x", "-1%", "nan", "101"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(UsageError):
        baseline.percentage(text)


def test_real_engine(stories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmlocal.ops.bandwidth.SIZE", 1 << 24)  # whatever it is, there is a limit
    monkeypatch.setattr("llmlocal.ops.multiply_peak.ITERATIONS", 1 << 12)
    plan = BenchPlan(prompts=(16,), gens=(4,), depths=(8,), repeats=1, roofline=True)
    rows = list(bench([stories / "stories260K-Q8_0.gguf"], plan, [1, 2]))
    assert [(row.n_threads, row.name) for row in rows] == [(n, t) for n in (1, 2) for t in ("pp16 @ d8", "tg4 @ d8")]
    assert all(row.mean > 0 and row.limit for row in rows)


def test_answers_tell_what_was_proposed(stories: Path) -> None:
    """No answer profits from the one before it, which asked the same."""
    path = stories / "stories260K-Q8_0.gguf"
    plan = BenchPlan(prompts=(), gens=(), repeats=2, weights="copy", answers=8)
    (found,) = bench([path], plan, [1])
    report = found.speculation
    assert (found.name, found.n_threads, len(found.samples), found.weights) == ("answer8", 1, 2, "copied")
    assert report is not None and 0 <= report.accepted <= report.proposed and report.gain > 0
    told = replace(found, speculation=ProposerReport(5, 3, 1.25))
    (line,) = proposal_lines([row(), told])
    assert line.endswith("answer8, 1 threads: 3 of 5 proposed tokens accepted, 1.25 x as fast")
    (record,) = json.loads(next(bench_table([told], Layout.json)))["rows"]
    assert (record["proposed"], record["accepted"], record["gain"]) == (5, 3, 1.25)
    with pytest.raises(UsageError, match="nothing to measure"):
        BenchPlan(prompts=(), gens=())


@pytest.mark.parametrize(
    ("limit", "used", "size"), [(1 << 40, 0, 1 << 30), (900 << 20, 100 << 20, 200 << 20), (90 << 20, 0, 1 << 27)]
)
def test_memory_is_read_for_its_bandwidth_within_the_limit_of_a_container(
    limit: int, used: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`show --fit` was killed in a container with less than 1 GiB."""
    read = list[int]()
    monkeypatch.setattr(memory_of_machine, "machine_memory", lambda: SimpleNamespace(available=1 << 40))
    monkeypatch.setattr(memory_of_machine, "memory_limits", lambda *_: iter([(limit, used)]))
    monkeypatch.setattr(bandwidth, "read_bandwidth", lambda _, free: read.append(bandwidth.bytes_to_read(free)) or 1e9)
    measured_bandwidth.__wrapped__(1)
    assert read == [size]
