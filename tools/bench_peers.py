"""Time llmlocal and llama.cpp on the same files and tokens, run by run in turn, and print medians and their ratio.

    python tools/bench_peers.py a.gguf b.gguf --peer-python PATH -p 512 -n 64 -d 0 -t 2 -r 5

Both engines stay loaded; while one measures, the other sleeps. In turn, because a machine's speed drifts within
minutes by more than the engines differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench_protocol import Worker

HERE = Path(__file__).parent
SCRIPTS = {"llmlocal": HERE / "bench_llmlocal.py", "llama.cpp": HERE / "bench_llama_cpp.py"}


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
    def ratio(self) -> float | None:
        """llmlocal's median over llama.cpp's; None where one of them did not run."""
        if not self.rates.keys() >= SCRIPTS.keys():
            return None
        return median(self.rates["llmlocal"]) / median(self.rates["llama.cpp"])


def start(stack: ExitStack, args: argparse.Namespace, model: Path, n_ctx: int) -> list[Worker]:
    """Load the model in one worker per engine; the engines' own lines go to stderr."""
    pythons = {"llmlocal": Path(sys.executable), "llama.cpp": args.peer_python}
    workers = []
    for name in args.only or SCRIPTS:
        worker = stack.enter_context(Worker(name, pythons[name], SCRIPTS[name], model, args.threads, n_ctx))
        print(f"{name}: {worker.info}", file=sys.stderr)
        workers.append(worker)
    return workers


def run(workers: Sequence[Worker], model: Path, tests: Sequence[Test], repetitions: int) -> Iterator[Result]:
    """Each test `repetitions` times, the engines in turn: A B A B."""
    for test in tests:
        rates: dict[str, list[float]] = {worker.name: [] for worker in workers}
        for _ in range(repetitions):
            for worker in workers:
                seconds = worker.ask(test.op, n=test.n, depth=test.depth)["seconds"]
                rates[worker.name].append(test.n / seconds)
        yield Result(model.name, test.name, rates)


def markdown(results: Sequence[Result]) -> Iterator[str]:
    """A table: median tokens per second, smallest and largest run, ratio."""
    engines = list(results[0].rates)
    yield "| file | test | " + " | ".join(f"{name} t/s (min .. max)" for name in engines) + " | ratio |"
    yield "|---|---|" + "---:|" * (len(engines) + 1)
    for r in results:
        cells = [f"{median(v):.2f} ({min(v):.2f} .. {max(v):.2f})" for v in r.rates.values()]
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}"
        yield f"| {r.file} | {r.test} | " + " | ".join(cells) + f" | {ratio} |"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time llmlocal and llama.cpp on the same files, in turn.")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--peer-python", type=Path, default=sys.executable, help="one with llama-cpp-python")
    parser.add_argument("-p", type=int, nargs="*", default=[512], help="prompt lengths (0: none)")
    parser.add_argument("-n", type=int, nargs="*", default=[64], help="tokens generated one by one (0: none)")
    parser.add_argument("-d", type=int, nargs="*", default=[0], help="tokens already in the context")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--repetitions", type=int, default=5)
    parser.add_argument("-o", "--output", choices=["md", "json"], default="md")
    parser.add_argument("--only", action="append", choices=list(SCRIPTS), help="run this engine alone")
    return parser.parse_args(argv)


def main() -> None:
    args = parse()
    tests = [Test(op, n, d) for d in args.d for op, counts in (("pp", args.p), ("tg", args.n)) for n in counts if n]
    n_ctx = max(64, *(test.depth + test.n for test in tests))
    results: list[Result] = []
    for model in args.models:
        with ExitStack() as stack:
            workers = start(stack, args, model, n_ctx)
            results += run(workers, model, tests, args.repetitions)
    if args.output == "json":
        print(json.dumps([asdict(r) | {"ratio": r.ratio} for r in results], indent=2))
    else:
        print(*markdown(results), sep="\n")


if __name__ == "__main__":
    main()
