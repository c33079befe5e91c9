"""The benchmark's protocol with an engine that only counts, its table, and the comparison of logits."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import numpy as np
import psutil
import pytest

TOOLS = Path(__file__).parents[1] / "tools"
sys.path.append(str(TOOLS))
bench_peers, bench_protocol, compare_logits = map(import_module, ("bench_peers", "bench_protocol", "compare_logits"))
bench_batch, bench_forms, bench_servers = map(import_module, ("bench_batch", "bench_forms", "bench_servers"))
bench_formats, bench_load = map(import_module, ("bench_formats", "bench_load"))
COUNTING = """
import json, sys
sys.path.append({tools!r})
import bench_protocol

class Counting:
    info, n_vocab = sys.argv[1:].__repr__(), 10
    def clear(self): print("noise of a library"); self.fed = []
    def feed(self, ids): self.fed.append(list(ids))
    def save_logits(self, ids, path): open(path, "w").write(json.dumps(ids))

bench_protocol.serve(Counting())
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench_protocol, "SETTLE", 0)
    path = tmp_path / "counting.py"
    path.write_text(COUNTING.format(tools=str(TOOLS)))
    return path


class Recorder:
    """An engine that remembers what it was fed."""

    info, n_vocab = "", 100

    def clear(self) -> None:
        self.fed: list[list[int]] = []

    def feed(self, ids: list[int]) -> None:
        self.fed.append(ids)


def test_a_run_feeds_the_same_tokens_at_once_or_one_by_one() -> None:
    engine, ids = Recorder(), bench_protocol.token_ids(7, 100)
    assert bench_protocol.measure(engine, "pp", 5, 2) > 0
    assert engine.fed == [ids[:2], ids[2:]]
    bench_protocol.measure(engine, "tg", 3, 4)
    assert engine.fed == [ids[:4], [ids[4]], [ids[5]], [ids[6]]]
    bench_protocol.measure(engine, "pp", 7)
    assert engine.fed == [ids]


def test_cpu_time_leaves_out_what_waits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Waiting(Recorder):
        def feed(self, ids: list[int]) -> None:
            time.sleep(0.2)

    assert bench_protocol.measure(Waiting(), "pp", 5, cpu=True) < 0.1 < bench_protocol.measure(Waiting(), "pp", 5)
    assert bench_peers.parse(["m.gguf", "--cpu"]).cpu
    with pytest.raises(SystemExit):
        bench_peers.parse(["m.gguf", "--cpu", "--peer", "openvino=a"])
    assert "OpenVINO is timed by the clock" in capsys.readouterr().err


def test_a_worker_answers_and_library_noise_stays_off_the_line(script: Path, tmp_path: Path) -> None:
    with bench_protocol.Worker("w", Path(sys.executable), script, Path("m.gguf"), 2, 64) as worker:
        assert (worker.info, worker.n_vocab) == ("['m.gguf', '2', '64']", 10)
        assert worker.ask("tg", n=3, depth=2)["seconds"] > 0
        assert worker.ask("logits", n=4, path=str(tmp_path / "l"))["path"] == str(tmp_path / "l")
    assert (tmp_path / "l").read_text() == str(bench_protocol.token_ids(4, 10))


def test_our_own_engine_is_driven_as_it_is_today(stories: Path) -> None:
    engine = import_module("bench_llmlocal").Llmlocal(str(stories / "stories260K-Q8_0.gguf"), 1, 64)
    engine.clear()
    engine.feed([1, 2, 3])
    engine.feed([4])
    assert engine.info.startswith("llmlocal ") and engine.n_vocab == 512
    engine._engine.close()


def test_a_worker_that_dies_is_reported(script: Path) -> None:
    script.write_text("raise SystemExit(3)")
    with pytest.raises(RuntimeError, match=r"llama\.cpp ended with exit code 3"):
        bench_protocol.Worker("llama.cpp", Path(sys.executable), script, Path("m.gguf"), 2, 64)


def test_engines_run_in_turn(script: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []
    ask = bench_protocol.Worker.ask

    def recorded(worker: bench_protocol.Worker, op: str, **rest: object) -> object:
        asked.append(worker.name)
        return ask(worker, op, **rest)

    monkeypatch.setattr(bench_protocol.Worker, "ask", recorded)
    monkeypatch.setattr(bench_peers, "SCRIPTS", {"llmlocal": script, "llama.cpp": script})
    args = Namespace(threads=1, peer=[("llama.cpp", Path(sys.executable))], without=False, cold=False)
    with ExitStack() as stack:
        workers = bench_peers.start(stack, args, Path("m.gguf"), 64)
        (result,) = bench_peers.run(workers, Path("m.gguf"), [bench_peers.Test("pp", 8, 0)], 3)
    assert asked == ["llmlocal", "llama.cpp"] * 3
    assert [len(rates) for rates in result.rates.values()] == [3, 3]


def test_an_engine_that_cannot_load_a_file_is_left_out(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fails.py").write_text("raise SystemExit(1)")
    monkeypatch.setattr(bench_peers, "SCRIPTS", {"llmlocal": script, "llama.cpp": tmp_path / "fails.py"})
    args = Namespace(threads=1, peer=[("llama.cpp", Path(sys.executable))], without=False, cold=False)
    with ExitStack() as stack:
        assert [worker.name for worker in bench_peers.start(stack, args, Path("m.gguf"), 64)] == ["llmlocal"]
    assert "llama.cpp is left out: llama.cpp ended with exit code 1\n" in capfd.readouterr().err


def test_table() -> None:
    rates = {"llmlocal": [10.0, 30.0, 20.0], "llama.cpp": [5.0, 20.0, 10.0]}
    table = list(bench_peers.markdown([bench_peers.Result("m.gguf", bench_peers.Test("tg", 8, 512).name, rates)]))
    assert table[2] == "| m.gguf | tg8 @ d512 | 20.00 (10.00 .. 30.00) | 10.00 (5.00 .. 20.00) | 2.00 |"
    alone = bench_peers.Result("m.gguf", "pp8", {"llama.cpp": [1.0]})
    assert not alone.ratios and list(bench_peers.markdown([alone]))[2].endswith("| 1.00 (1.00 .. 1.00) |")
    both = bench_peers.Result("n.gguf", "pp8", {"llmlocal": [2.0], "llama.cpp": [1.0]})
    assert list(bench_peers.markdown([both, bench_peers.Result("m.gguf", "pp8", {"llmlocal": [3.0]})]))[2:] == [
        "| n.gguf | pp8 | 2.00 (2.00 .. 2.00) | 1.00 (1.00 .. 1.00) | 2.00 |",
        "| m.gguf | pp8 | 3.00 (3.00 .. 3.00) | - | - |",
    ]


def test_names_of_peers() -> None:
    args = bench_peers.parse(["m.gguf", "--peer", "ik=a", "--peer", "ik-repacked=b"])
    assert args.peer == [("ik", Path("a")), ("ik-repacked", Path("b"))]
    for wrong in ("llmlocal=x", "ik", "ik=", "vllm=x"):
        with pytest.raises(SystemExit):
            bench_peers.parse(["m.gguf", "--peer", wrong])


def test_comparison_of_logits_counts_only_clear_positions() -> None:
    theirs = np.random.default_rng(0).normal(0, 1, (50, 20)).astype(np.float32)
    theirs[:, 3] = 10
    theirs[0, 4] = 9.999  # a near tie, which may fall either way
    ours = theirs + np.float32(0.001) * np.where(np.arange(20) % 2, -1, 1).astype(np.float32)
    d = compare_logits.compare(ours, theirs)
    assert (d.positions, d.clear, d.agreeing, d.agreeing_everywhere) == (50, 49, 49, 49)
    assert d.rms == pytest.approx(0.001, rel=1e-3)
    assert d.nmse == pytest.approx(d.rms**2 / (theirs**2).mean(), rel=1e-3)
    assert 0 <= d.kld < 1e-5
    ours[7, 5] = 11
    assert compare_logits.compare(ours, theirs).agreeing == 48


def test_comparison_refuses_nan_and_other_shapes() -> None:
    logits = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="shape"):
        compare_logits.compare(logits, logits[:1])
    with pytest.raises(ValueError, match="NaN"):
        compare_logits.compare(logits * np.float32(np.nan), logits)


def test_rows_are_answered_alike_however_many_at_once(stories: Path) -> None:
    model, given = stories / "stories260K-Q8_0.gguf", Namespace(rows=3, shared=20, n=2, t=1, weights="map")
    found = [bench_batch.answered(model, given, parallel) for parallel in (1, 2)]
    assert found[0][0] == found[1][0] and [row["row"] for row in found[0][0]] == [1, 2, 3]
    halves = [bench_batch.Took(2.0, 4.0)], [bench_batch.Took(4.0, 6.0)]
    assert bench_batch.told("2 at once", 3, *halves) == (
        "2 at once: 90.0 rows/min, 1333.3 ms of CPU time a row, 2.00 x the first by the clock, 1.50 x by CPU time"
    )


def test_tokens_are_counted_where_a_form_leaves_a_choice(stories: Path) -> None:
    with bench_forms.Session.open(stories / "stories260K-Q8_0.gguf", n_ctx=64, n_threads=1) as session:
        for form in (None, bench_forms.of_text('{"enum": ["ab", "cd"]}')):
            lane = bench_forms.sampled(session, [form], 3, 0)
            assert lane.tokens == 3 and lane.cpu > 0 and lane.wall > 0
    lanes = [bench_forms.Lane(0.2, 0.4, 100)], [bench_forms.Lane(0.3, 0.5, 100)]
    told = "2.00 and 3.00 ms a token, 1.500 x; CPU time 4.00 and 5.00 ms a token, 1.250 x"
    assert bench_forms.told(*lanes).endswith(told)


def test_servers_are_compared_with_the_first_and_with_one_client() -> None:
    load = bench_servers.Load
    a, b = [load(60, 10, 5, 0), load(80, 20, 10, 0)]
    lines = bench_servers.summary({("a", 1): [a], ("a", 16): [b], ("b", 1): [a], ("b", 16): [load(40, 10, 5, 1)]})
    assert lines[1].startswith("a, 16 clients: 20.0 tokens/s (2.00 x 1), 10.0 tokens per CPU second (2.00 x)")
    assert lines[3].endswith("1 lost; a has 2.00 x the requests, 2.00 x by CPU time")
    with (
        pytest.raises(RuntimeError, match="does not serve"),
        bench_servers.started(f"{sys.executable} -c 0", "m", 8, 8),
    ):
        pass


def test_busy_processes_are_there_as_long_as_an_engine_runs(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, seen = psutil.Process(), []
    ask = bench_protocol.Worker.ask

    def counted(worker: bench_protocol.Worker, op: str, **rest: object) -> object:
        seen.append(sum(bench_load.BUSY in process.cmdline() for process in own.children()))
        return ask(worker, op, **rest)

    monkeypatch.setattr(bench_protocol.Worker, "ask", counted)
    with bench_protocol.Worker("w", Path(sys.executable), script, Path("m.gguf"), 1, 64) as worker:
        loads = list(bench_load.run([worker], [0, 1], 2, 4, 2))
    assert seen == [0, 0, 2, 2] and [(load.busy, len(load.rates["w"])) for load in loads] == [(0, 2), (1, 2)]
    assert not any(bench_load.BUSY in process.cmdline() for process in own.children())


def test_the_share_is_that_of_one_quiet_thread() -> None:
    alone = bench_load.ALONE
    loads = [
        bench_load.Load(0, {"a": [90.0], alone: [40.0, 60.0, 50.0]}),
        bench_load.Load(4, {"a": [8.0], alone: [12.0]}),
    ]
    table = list(bench_load.markdown(loads))
    assert table[2:] == ["| 0 | 50.0 | 90.0 (180%) | 50.0 (100%) |", "| 4 | 10.0 | 8.0 (80%) | 12.0 (120%) |"]
    assert list(bench_load.markdown(loads[1:]))[2:] == ["| 4 | - | 8.0 | 12.0 |"]


def test_products_of_a_format_are_timed_in_rows_and_in_tiles() -> None:
    bench_formats.load_all()
    fmt = bench_formats.BY_NAME["Q4_K"]
    values = fmt.dequantize(bench_formats.rows_of(fmt))
    assert values.shape == (32, bench_formats.K) and 0 < np.abs(values).max() < bench_formats.USUAL[1]
    found = list(bench_formats.readings(fmt, [1], 1 << 20, 1))
    assert [(reading.form, reading.threads) for reading in found] == [("rows", 1), ("tiles", 1)]
    assert all((1 << 20) - 32 * fmt.row_bytes(bench_formats.K) < reading.nbytes <= 1 << 20 for reading in found)
    one = bench_formats.Reading("Q4_0", "tiles", 2, 2 * 10**9, (0.1, 0.11, 0.12, 0.15, 0.3))
    assert one.row(40e9) == "| Q4_0 | tiles | 2 | 20.0 | 50% | 1.10 | 1.20 | 1.50 | 3.00 |"
