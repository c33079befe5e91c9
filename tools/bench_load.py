"""Measure decode beside busy processes: tokens per second, and what that is of the fair share of one thread.

    python tools/bench_load.py model.gguf -t 2 --busy 0 1 2 4 8 --peer llama.cpp=PYTHON

Beside N busy processes on each CPU the fair share of one thread is its speed on the quiet machine, divided by N + 1.
llmlocal runs with -t threads and with one, peers with one. All engines stay loaded and run in turn; nothing else may
run on the machine, since the quiet speed is measured, too. PYTHON is an interpreter that has the peer's package.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench_peers import ENVIRONMENT, OURS, SCRIPTS, peer
from bench_protocol import Worker

BUSY = "n = 0\nwhile True: n += 1"
ALONE = f"{OURS}, 1 thread"  # whose quiet speed is the measure


class Load(NamedTuple):
    """Tokens per second of every run, by lane, beside `busy` processes on each CPU."""

    busy: int
    rates: Mapping[str, Sequence[float]]


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that compute all the time."""
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(process.kill)
        yield


def run(workers: Sequence[Worker], busy: Sequence[int], cpus: int, tokens: int, repetitions: int) -> Iterator[Load]:
    """`tokens` one by one beside each number of busy processes for a CPU, the engines in turn."""
    for n in busy:
        rates: dict[str, list[float]] = {worker.name: [] for worker in workers}
        with busy_processes(n * cpus):
            for _ in range(repetitions):
                for worker in workers:
                    rates[worker.name].append(tokens / worker.ask("tg", n=tokens)["seconds"])
        yield Load(n, rates)


def markdown(loads: Sequence[Load]) -> Iterator[str]:
    """A table: medians of tokens per second, and shares of the fair one where the quiet speed is known."""
    lanes = list(loads[0].rates)
    yield f"| busy processes on each CPU | fair share | {' | '.join(lanes)} |"
    yield "|---:|" + "---:|" * (1 + len(lanes))
    quiet = next((median(load.rates[ALONE]) for load in loads if load.busy == 0 and ALONE in load.rates), None)
    for load in loads:
        fair = quiet / (load.busy + 1) if quiet else None
        found = [median(load.rates[lane]) for lane in lanes]
        cells = [f"{rate:.1f} ({rate / fair:.0%})" if fair else f"{rate:.1f}" for rate in found]
        yield f"| {load.busy} | {f'{fair:.1f}' if fair else '-'} | {' | '.join(cells)} |"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure decode beside busy processes.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2, 4, 8], help="busy processes on each CPU")
    parser.add_argument("--peer", type=peer, action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("-n", type=int, default=32, help="tokens of a run (default: 32)")
    parser.add_argument("-t", "--threads", type=int, default=2, help="threads of llmlocal's first lane (default: 2)")
    parser.add_argument("-r", "--repetitions", type=int, default=5, help="runs of each lane (default: 5)")
    return parser.parse_args(argv)


def main() -> None:
    """Print the table as far as it has come, then the whole of it."""
    args = parse()
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    lanes = [(f"{OURS}, {args.threads} threads", OURS, Path(sys.executable), args.threads)] if args.threads > 1 else []
    lanes += [(ALONE, OURS, Path(sys.executable), 1)]
    lanes += [(f"{name}, 1 thread", name, python, 1) for name, python in args.peer]
    with ExitStack() as stack:
        workers = []
        for title, name, python, threads in lanes:
            env, size = ENVIRONMENT.get(name), max(64, args.n)
            workers.append(stack.enter_context(Worker(title, python, SCRIPTS[name], args.model, threads, size, env)))
            print(f"{title}: {workers[-1].info}", file=sys.stderr)
        loads: list[Load] = []
        for load in run(workers, args.busy, cpus, args.n, args.repetitions):
            loads.append(load)
            print(*list(markdown(loads))[-1:], file=sys.stderr, flush=True)
    print(f"{args.model.name}, {cpus} CPUs, {args.n} tokens, medians of {args.repetitions}", *markdown(loads), sep="\n")


if __name__ == "__main__":
    main()
