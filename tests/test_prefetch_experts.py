"""Mixtures larger than memory: chosen experts are asked of the disk, what must fit is checked, the speed is told."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive import run

from llmlocal.engine import Engine
from llmlocal.errors import ResourceError
from llmlocal.files import read_rate as disk
from llmlocal.files.read_rate import read_rate
from llmlocal.generation.session import Session
from llmlocal.gguf import open_gguf
from llmlocal.gguf.pages import address_of, advise_address
from llmlocal.model_info.expert_memory import expert_memory, expert_read_rate, expert_reads, least_memory
from llmlocal.model_info.fit import EXCHANGED
from llmlocal.model_info.memory import memory
from llmlocal.model_info.memory_limit import check_memory
from llmlocal.ops.prefetch_experts import prefetch_experts, prefetch_experts_reference
from llmlocal.quant.jit.kernel import CALL

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")

linux = pytest.mark.skipif(not advise_address() or not hasattr(os, "posix_fadvise"), reason="no advice on files")
EXPERTS, USED, LAYERS = 8, 2, 2  # of the model
IDS = [5, 60, 7, 200, 31, 9]


class Advised:
    """Stands for madvise: what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []
        self._function = CALL(lambda *words: self.calls.append(words))  # type: ignore[arg-type, return-value]
        self.address = ctypes.cast(self._function, ctypes.c_void_p).value or 0


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("mixture") / "m.gguf"
    make_model.make_model("tiny-qwen3moe-256", path, form="Q8_0")
    return path


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("chosen", "most"), [([1, 2, 5], 1 << 30), ([0], 250), ([1, 2, 5], 2000), ([0, 1, 2, 3], 1e9)])
def test_kernel(chosen: list[int], most: float, threads: int) -> None:
    """Over half of 6 experts are left to the system's own reading ahead."""
    rows = [(expert, at, 1) for at, expert in enumerate(chosen)]
    groups = np.array([len(rows), *(n for row in rows for n in row)], np.int64)
    stacks = [(np.arange(6, dtype=np.int64) * 5000 + 123, 700), (np.arange(6, dtype=np.int64)[::-1] * 9000 + 7, 300)]
    table = np.array([2, *(n for addresses, nbytes in stacks for n in (addresses.ctypes.data, nbytes))], np.int64)
    advised, operands = Advised(), {"experts": 6, "advice": 3, "page": 4096, "most": int(most)}
    run(prefetch_experts, None, threads, groups=groups, stacks=table, advise=advised.address, **operands)
    want = prefetch_experts_reference(np.array(rows), stacks, 4096, int(most))
    assert sorted(advised.calls) == sorted((*span, 3) for span in want)
    assert len(want) == {1 << 30: 6, 250: 0, 2000: 5, 1e9: 0}[most]


def test_a_run_asks_for_the_matrices_of_the_chosen_experts(mixture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advised = Advised()
    monkeypatch.setattr("llmlocal.layers.moe.advise_address", lambda: advised.address)
    plain = Engine.open(mixture, n_ctx=64, n_threads=1)
    engine = Engine.open(mixture, n_ctx=64, n_threads=1, prefetch_bytes=1 << 30)
    try:
        copied = Engine.open(mixture, n_ctx=64, n_threads=1, copy_weights=True, prefetch_bytes=1 << 30, load=False)
        assert copied._layers.prefetch_bytes == 0  # nothing is read from the file
        copied.close()
        for id in IDS:
            advised.calls.clear()
            assert engine.decode(id).tobytes() == plain.decode(id).tobytes()
            stacks = [t for name, t in engine.gguf.tensors.items() if "_exps" in name]
            starts = {
                (t.address + e * (t.nbytes // EXPERTS)) // mmap.PAGESIZE * mmap.PAGESIZE
                for t in stacks
                for e in range(EXPERTS)
            }
            assert len(advised.calls) == LAYERS * USED * 3
            assert {start for start, _, _ in advised.calls} <= starts
        base, size = address_of(engine.gguf.mappings()[0]), mixture.stat().st_size
        assert all(base <= start and start + n <= base + size for start, n, _ in advised.calls)
    finally:
        engine.close()
        plain.close()


def test_what_must_fit(mixture: Path) -> None:
    with open_gguf(mixture) as gguf:
        file = gguf.metadata, gguf.tensors
        whole, least = memory(*file, 64).total, least_memory(*file, 64).total
        experts = expert_memory(*file, whole, whole)
        assert experts is not None and experts.missing == 0
        assert (
            experts.read * EXPERTS
            == experts.nbytes * USED
            == sum(t.nbytes for name, t in gguf.tensors.items() if "_exps" in name) * USED
        )
        assert whole - least == experts.nbytes - experts.read
        half = expert_memory(*file, whole, whole - experts.nbytes // 2)
        assert half is not None and half.missing == pytest.approx(0.5)
        check_memory(*file, 64, free=least)
        with pytest.raises(ResourceError):
            check_memory(*file, 64, free=least - 1)
        assert expert_reads(*file, whole, 2 * whole).prefetch_bytes == 0
        near, far = expert_reads(*file, whole, whole), expert_reads(*file, whole, least)
        assert near.prefetch_bytes and not near.note
        assert far.prefetch_bytes and "75% are read from the disk for each token" in far.note
    make_model.make_model("tiny-llama-256", path := mixture.with_name("dense.gguf"))
    with open_gguf(path) as gguf:
        file = gguf.metadata, gguf.tensors
        assert least_memory(*file, 64) == memory(*file, 64)
        assert expert_reads(*file, 1 << 30, 1).prefetch_bytes == 0


def test_a_session_says_what_is_read_from_the_disk(mixture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_gguf(mixture) as gguf:
        least = least_memory(gguf.metadata, gguf.tensors, 64).total
    for module in ("engine_plan", "model_info.memory_limit"):
        monkeypatch.setattr(f"llmlocal.{module}.free_memory", lambda: least)
    with Session.open(mixture, n_ctx=64, n_threads=1) as session:
        assert [note for note in session.notes if "of experts do not fit into memory" in note]
        assert session.engine._layers.prefetch_bytes > 0


def test_fit_tells_the_speed_of_the_disk(
    mixture: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[..., tuple[int, str, str]]
) -> None:
    with open_gguf(mixture) as gguf:
        file = gguf.metadata, gguf.tensors
        whole, experts = memory(*file, 64).total, expert_memory(*file, 0, 0)
    assert experts is not None
    free = whole - experts.nbytes // 4
    for name, value in (("total_memory", free), ("free_memory", free), ("expert_read_rate", None)):
        monkeypatch.setattr(f"llmlocal.model_info.fit.{name}", lambda *_, value=value: value)
    monkeypatch.setattr("llmlocal.measure.roofline.read_bandwidth", lambda n_threads: 1e9)
    code, out, _ = said("show", mixture, "--ctx", "64", "--fit")
    assert code == 0 and "in part" in out and "from the disk" in out and "tokens/s" not in out
    monkeypatch.setattr("llmlocal.model_info.fit.expert_read_rate", lambda gguf, missing: 1e6)
    fit = json.loads(said("show", mixture, "--ctx", "64", "--fit", "--json")[1])["fit"]
    assert fit["disk_per_token"] == pytest.approx(experts.read / 4, abs=1)
    seconds = fit["read_per_token"] / 1e9 + fit["disk_per_token"] * (1 / 1e6 + 1 / EXCHANGED)
    assert fit["tokens_per_second"] == pytest.approx(1 / seconds)
    assert f"about {1 / seconds:.3g} tokens/s" in said("show", mixture, "--ctx", "64", "--fit")[1]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Measurements are short, and what they read is noted."""
    seen: list[Any] = []
    timed = disk._timed
    monkeypatch.setattr(disk, "SECONDS", 0.05)
    monkeypatch.setattr(disk, "MOST", 1 << 20)
    monkeypatch.setattr(disk, "_timed", lambda map, parts, n: seen.append((parts, n)) or timed(map, parts, n))
    yield seen


@linux
def test_read_rate(mixture: Path, tmp_path: Path, short: list[Any]) -> None:
    with open_gguf(mixture) as gguf:
        assert (expert_read_rate(gguf, 1.0) or 0) > 0 and (expert_read_rate(gguf, 0.5) or 0) > 0
        (parts, together), (_, fewer) = short
        spans = [(gguf.place_of(t)[1], t.nbytes) for name, t in gguf.tensors.items() if "_exps" in name]
        assert (together, fewer) == (3 * USED, round(1.5 * USED)) and sum(n for _, n in parts) <= 1 << 20
        assert all(any(at <= first and first + n <= at + size for at, size in spans) for first, n in parts)
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 22)
    assert read_rate(tmp_path / "sparse", [(0, 4096)], 1) is None
    assert read_rate(mixture, [], 1) is None
