"""Measure `batch --ray` on two nodes of this machine, each with a core of its own: rows a minute of one and of both.

    python tools/bench_ray.py model.gguf --rows 100 --shared 100 -n 16 --parallel 8 --rounds 2

Results must be those of one node; where they are not, the exit code is 1. Engines are loaded before a measurement.
The ratio by CPU time is that of one node's seconds to those of the busier of two: how much longer it would take by the
clock if nothing else ran.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import psutil
from bench_batch import ROOM, answering, parser_of, rows

from llmlocal.batch.cluster import Cluster, NodeSettings
from llmlocal.batch.run import Result
from llmlocal.generation.session import Session

ACTOR = "ray::Node"  # what Ray calls the process of an engine


class Took(NamedTuple):
    """Seconds of the clock, and of CPU time of the busiest node."""

    wall: float
    cpu: float


def engines() -> list[psutil.Process]:
    """The processes of the nodes' engines."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if ACTOR in " ".join(process.cmdline())]


def pinned(processes: Sequence[psutil.Process]) -> None:
    """Give each process a core of its own."""
    for process, core in zip(processes, sorted(os.sched_getaffinity(0)), strict=False):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core})


def seconds(process: psutil.Process) -> float:
    """CPU time of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)


def answered(address: str, settings: NodeSettings, asked: Sequence[Any]) -> tuple[list[Result], Took]:
    """The results of all rows by the nodes of a cluster."""
    with closing(Cluster(address, settings)) as cluster:
        found = engines()
        pinned(found)
        list(cluster.results(asked[: 2 * len(found)]))  # so that each node has answered before
        before, wall = [seconds(process) for process in found], perf_counter()
        every = list(cluster.results(asked))
        wall = perf_counter() - wall
        return every, Took(wall, max(seconds(process) - old for process, old in zip(found, before, strict=True)))


def main() -> int:
    """Exit code 1 where results differ."""
    parser = parser_of("Measure batch on two Ray nodes of this machine.", rows=100, shared=100, n=16)
    parser.add_argument("--parallel", type=int, default=8, help="rows at once on a node")
    given = parser.parse_args()
    from ray.cluster_utils import Cluster as LocalNodes

    opening = {"n_ctx": given.shared + given.n + ROOM, "n_threads": None, "weights": "copy"}
    prompting, how = (None, None, None, "auto"), answering(given.n)
    settings = NodeSettings.of(given.model, opening=opening, prompting=prompting, how=how, parallel=given.parallel)
    with Session.open(given.model) as session:
        asked = [(row, "") for row in rows(session, given.rows, given.shared)]
    one, two, texts = list[Took](), list[Took](), set[str]()
    nodes = LocalNodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(given.rounds):
            for took in (one, two):
                second = nodes.add_node(num_cpus=1) if took is two else None
                nodes.wait_for_nodes()
                every, spent = answered(nodes.address, settings, asked)
                took.append(spent)
                texts.add(repr(every))
                if second is not None:
                    nodes.remove_node(second)
    finally:
        nodes.shutdown()
    alone, both = (Took(*(median(column) for column in zip(*took, strict=True))) for took in (one, two))
    print(f"one node: {60 * given.rows / alone.wall:.1f} rows/min; two: {60 * given.rows / both.wall:.1f} rows/min")
    print(
        f"two nodes are {alone.wall / both.wall:.2f} x as fast by the clock, {alone.cpu / both.cpu:.2f} x by CPU time"
    )
    print("results are the same" if len(texts) == 1 else "results differ")
    return len(texts) > 1


if __name__ == "__main__":
    raise SystemExit(main())
