"""Time llmlocal and its peers on the same files and tokens, run by run in turn, and print medians and ratios.

    python tools/bench_peers.py a.gguf --peer llama.cpp=PYTHON --peer ik-repacked=PYTHON -p 512 -n 64 -t 2 -r 5

PYTHON is an interpreter that has the peer's package. All engines stay loaded; while one measures, the others sleep. In
turn, because a machine's speed drifts within minutes by more than the engines differ. The speed also depends on the
pages under a mapped file: the first line of llmlocal says which it got; `--cold` drops the file from the page cache
before it is loaded, so that it comes in large pages where the system has them. Where other programs are at work, the
clock says little: `--cpu -t 1` counts CPU time, with one thread, since those that wait for each other spin.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench_protocol import Worker

HERE = Path(__file__).parent
SCRIPTS = {
    "llmlocal": HERE / "bench_llmlocal.py",
    "llama.cpp": HERE / "bench_llama_cpp.py",
    "ik": HERE / "bench_ik_llama_cpp.py",
    "ik-repacked": HERE / "bench_ik_llama_cpp.py",
    "openvino": HERE / "bench_openvino.py",
}
ENVIRONMENT = {"ik-repacked": {"IK_REPACK": "1"}}
OURS = "llmlocal"


@dataclass(frozen=True, slots=True)
class Test:
    """`op` pp or tg over `n` tokens after `depth` others."""

    op: str
    n: int
    depth: int

    @property
    def name(self) -> str:
        return f"{self.op}{self.n}" + (f" @ d{self.depth}" if self.depth else "")


@dataclass(frozen=True, slots=True)
class Result:
    """Tokens per second of every run, by engine."""

    file: str
    test: str
    rates: dict[str, list[float]]

    @property
    def ratios(self) -> dict[str, float]:
        """llmlocal's median over that of each peer; empty where llmlocal did not run."""
        ours = self.rates.get(OURS)
        peers = {name: median(rates) for name, rates in self.rates.items() if name != OURS}
        return {name: median(ours) / rate for name, rate in peers.items()} if ours else {}


def start(stack: ExitStack, args: argparse.Namespace, model: Path, n_ctx: int) -> list[Worker]:
    """Load the model in one worker per engine that can; the engines' own lines go to stderr."""
    pythons = {} if args.without else {OURS: Path(sys.executable)}
    pythons |= dict(args.peer)
    if args.cold:
        with open(model, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    workers = []
    for name, python in pythons.items():
        env = ENVIRONMENT.get(name)
        try:
            worker = stack.enter_context(Worker(name, python, SCRIPTS[name], model, args.threads, n_ctx, env))
        except RuntimeError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        print(f"{name}: {worker.info}", file=sys.stderr)
        workers.append(worker)
    return workers


def run(
    workers: Sequence[Worker], model: Path, tests: Sequence[Test], repetitions: int, *, cpu: bool = False
) -> Iterator[Result]:
    """Each test `repetitions` times, the engines in turn: A B A B; `cpu`: by CPU time."""
    for test in tests:
        rates: dict[str, list[float]] = {worker.name: [] for worker in workers}
        for _ in range(repetitions):
            for worker in workers:
                seconds = worker.ask(test.op, n=test.n, depth=test.depth, cpu=cpu)["seconds"]
                rates[worker.name].append(test.n / seconds)
        yield Result(model.name, test.name, rates)


def markdown(results: Sequence[Result]) -> Iterator[str]:
    """A table: median tokens per second, smallest and largest run, ratio to each peer; "-" for what did not run."""
    names = dict.fromkeys(name for r in results for name in r.rates)
    peers = dict.fromkeys(name for r in results for name in r.ratios)
    titles = [f"{name} t/s (min .. max)" for name in names] + [f"to {name}" for name in peers]
    yield f"| file | test | {' | '.join(titles)} |"
    yield "|---|---|" + "---:|" * len(titles)
    for r in results:
        rates, ratios = (r.rates.get(name) for name in names), (r.ratios.get(name) for name in peers)
        cells = [f"{median(v):.2f} ({min(v):.2f} .. {max(v):.2f})" if v else "-" for v in rates]
        cells += [f"{ratio:.2f}" if ratio else "-" for ratio in ratios]
        yield f"| {r.file} | {r.test} | {' | '.join(cells)} |"


def peer(text: str) -> tuple[str, Path]:
    """Parse NAME=PYTHON. Raises ValueError, which argparse reports."""
    name, _, python = text.partition("=")
    if name == OURS or name not in SCRIPTS or not python:
        raise ValueError(text)
    return name, Path(python)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time llmlocal and its peers on the same files, in turn.")
    parser.add_argument("models", nargs="+", type=Path)
    peers = ", ".join(name for name in SCRIPTS if name != OURS)
    parser.add_argument("--peer", type=peer, action="append", default=[], metavar="NAME=PYTHON", help=f"one of {peers}")
    parser.add_argument("-p", type=int, nargs="*", default=[512], help="prompt lengths (0: none)")
    parser.add_argument("-n", type=int, nargs="*", default=[64], help="tokens generated one by one (0: none)")
    parser.add_argument("-d", type=int, nargs="*", default=[0], help="tokens already in the context")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--repetitions", type=int, default=5)
    parser.add_argument("-o", "--output", choices=["md", "json"], default="md")
    parser.add_argument("--without", action="store_true", help="run the peers alone, without llmlocal")
    parser.add_argument("--cold", action="store_true", help="drop each file from the page cache first")
    parser.add_argument("--cpu", action="store_true", help="count CPU time, not the clock's; OpenVINO cannot")
    args = parser.parse_args(argv)
    if args.cpu and "openvino" in dict(args.peer):
        parser.error("--cpu: OpenVINO is timed by the clock")
    return args


def main() -> None:
    args = parse()
    tests = [Test(op, n, d) for d in args.d for op, counts in (("pp", args.p), ("tg", args.n)) for n in counts if n]
    n_ctx = max(64, *(test.depth + test.n for test in tests))
    results: list[Result] = []
    for model in args.models:
        with ExitStack() as stack:
            workers = start(stack, args, model, n_ctx)
            results += run(workers, model, tests, args.repetitions, cpu=args.cpu)
    if args.output == "json":
        print(json.dumps([asdict(r) | {"ratios": r.ratios} for r in results], indent=2))
    else:
        print(*markdown(results), sep="\n")


if __name__ == "__main__":
    main()
