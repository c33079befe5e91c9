"""`batch --ray`: the nodes of a Ray cluster answer as one machine does."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from time import sleep
from typing import Any

import pytest

Said = Callable[..., tuple[int, str, str]]
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the package ray")
ROWS = 60


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    lines = [json.dumps({"prompt": f"Once upon a time there were {n} cats. " * (1 + n % 3)}) for n in range(ROWS)]
    lines[7], lines[21] = "{", json.dumps({"prompt": "word " * 400})
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [("here", 2, "is not an address"), ("ray://a:1", 2, "is not an address"), ("a:99999", 2, "is not an address")],
)
def test_addresses_that_are_none(said: Said, prompts: Path, address: str, code: int, told: str) -> None:
    found = said("batch", "m", prompts, "--ray", address)
    assert found[:2] == (code, "") and told in found[2]


def test_a_missing_package_is_named(said: Said, prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmlocal.batch import ray_address

    monkeypatch.setattr(ray_address, "find_spec", lambda name: None)
    code, _, err = said("batch", "m", prompts, "--ray", "auto")
    assert code == 2 and "--ray needs the package ray" in err and "pip install 'llmlocal[ray]'" in err


def test_an_address_where_nothing_answers(said: Said, prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmlocal.batch import ray_address

    monkeypatch.setattr(ray_address, "find_spec", lambda name: name)
    with socket.socket() as taken:  # and does not listen
        taken.bind(("127.0.0.1", 0))
        code, _, err = said("batch", "m", prompts, "--ray", f"127.0.0.1:{taken.getsockname()[1]}")
    assert code == 4 and "no Ray cluster at 127.0.0.1" in err


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes with a CPU each."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()


def command(model: Path, prompts: Path, out: Path, *more: str) -> list[str]:
    options = ("--seed", "3", "-n", "120", "--ctx", "256", "--temp", "1", "--parallel", "4", *more)
    return [sys.executable, "-m", "llmlocal", "batch", str(model), str(prompts), "-o", str(out), *options]


def ended(given: list[str]) -> int:
    found = subprocess.run(given, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)
    assert found.stdout == ""
    return found.returncode


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_two_nodes_answer_as_one_machine(story: Path, prompts: Path, tmp_path: Path, cluster: Any) -> None:
    """Byte for byte, also where the file was cut off, and where a node is lost on the way."""
    alone, out, ray = tmp_path / "alone.jsonl", tmp_path / "out.jsonl", ("--ray", cluster.address)
    assert ended(command(story, prompts, alone)) == 9
    whole = alone.read_bytes()
    assert ended(command(story, prompts, out, *ray)) == 9 and out.read_bytes() == whole
    out.write_bytes(whole[: len(whole) // 2])
    assert ended(command(story, prompts, out, "--resume", *ray)) == 9 and out.read_bytes() == whole
    out.unlink()
    with subprocess.Popen(command(story, prompts, out, *ray), stdin=subprocess.DEVNULL) as process:
        while process.poll() is None and (not out.exists() or not out.stat().st_size):
            sleep(0.01)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        assert process.poll() is None
        assert process.wait(200) == 9 and out.read_bytes() == whole


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_node_without_the_model_is_named(story: Path, tmp_path: Path, cluster: Any) -> None:
    """The nodes of the test share all files, so the path is changed on its way to them."""
    from llmlocal.batch.cluster import Cluster, NodeSettings
    from llmlocal.batch.run import Answering
    from llmlocal.errors import BadFileError, NotFoundError, UsageError
    from llmlocal.generation.sampling_params import SamplingParams

    opening = {"n_ctx": 64, "n_threads": None}
    how = Answering(sampling=SamplingParams(), seed=1)
    right = NodeSettings.of(story, opening=opening, prompting=(None, None, None, "auto"), how=how, parallel=1)
    for wrong, kind in (
        ({"model": tmp_path / "x"}, NotFoundError),
        ({"bytes": 1}, BadFileError),
        ({"version": "0"}, UsageError),
    ):
        with pytest.raises(kind, match=r"node \S+ of the Ray cluster: "):
            Cluster(cluster.address, replace(right, **wrong))


@needs_ray
@pytest.mark.slow
def test_two_nodes_are_measured(story: Path) -> None:
    """What it prints is for a person; it fails where results differ."""
    tool = Path(__file__).parents[1] / "tools" / "bench_ray.py"
    options = ("--rows", "8", "--shared", "20", "-n", "4", "--rounds", "1")
    done = subprocess.run([sys.executable, tool, story, *options], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "two nodes are" in done.stdout and "results are the same" in done.stdout
