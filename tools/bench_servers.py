"""Start servers one after the other on the same model, load each as `bench_serve.py` does, and compare them.

    python tools/bench_servers.py model.gguf --clients 1 16 --requests 48 --rounds 2 \
        --server "llmlocal=llmlocal serve {model} --port {port} --parallel 16 --ctx 1024 -t 2" \
        --server "llama.cpp=llama-server -m {model} --port {port} -np 16 -c 16384 -t 2"

Servers take turns, because a machine's speed drifts by more than they differ. Ratios are those of the first one to each
of the others, in requests a minute, and of each to itself with the first number of clients, in tokens a second. On a
busy machine compare tokens per second of the server's CPU time.
"""

from __future__ import annotations

import argparse
import http.client
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import monotonic, sleep
from typing import NamedTuple

import psutil
from bench_serve import Target, measure

STARTS_WITHIN = 300  # seconds


class Load(NamedTuple):
    """What a server did under one load; `cpu` are tokens per second of its CPU time."""

    requests: float
    tokens: float
    cpu: float
    wrong: int


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(port: int) -> bool:
    """Whether a server is there that has loaded its model."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/v1/models")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def started(command: str, model: str, tokens: int, words: int) -> Iterator[tuple[Target, psutil.Process]]:
    """A server, as the target of requests for so many tokens with prompts of so many words, and its process.

    Raises RuntimeError where it ends or does not come up.
    """
    port = free_port()
    line = [part.format(model=model, port=port) for part in shlex.split(command)]
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        since = monotonic()
        while not answers(port):
            if process.poll() is not None or monotonic() - since > STARTS_WITHIN:
                raise RuntimeError(f"{line[0]}: does not serve (exit code {process.poll()})")
            sleep(0.2)
        yield Target(f"http://127.0.0.1:{port}", "", "none", tokens, words), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a process and those that it has started."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(found.user + found.system for found in times)


def loaded(target: Target, process: psutil.Process, clients: int, requests: int) -> Load:
    """One load of a server that has answered before."""
    before = cpu_seconds(process)
    found = measure(target, clients, requests, sample=0)
    tokens = found["tokens_per_second"] * found["seconds"]
    spent = max(cpu_seconds(process) - before, 1e-9)
    return Load(found["requests_per_minute"], found["tokens_per_second"], tokens / spent, found["lost"])


def summary(loads: dict[tuple[str, int], list[Load]]) -> list[str]:
    """A line for each server and number of clients: medians, and ratios."""
    middle = {key: Load(*(median(column) for column in zip(*each, strict=True))) for key, each in loads.items()}
    first, least = next(iter(middle))
    lines = []
    for (name, clients), load in middle.items():
        own, ours = middle[name, least], middle[first, clients]
        line = f"{name}, {clients} clients: {load.tokens:.1f} tokens/s ({load.tokens / own.tokens:.2f} x {least}), "
        line += f"{load.cpu:.1f} tokens per CPU second ({load.cpu / own.cpu:.2f} x), {load.requests:.1f} requests/min"
        line += f", {sum(each.wrong for each in loads[name, clients])} lost"
        if name != first and load.requests:
            more = ours.requests / load.requests, ours.cpu / load.cpu
            line += f"; {first} has {more[0]:.2f} x the requests, {more[1]:.2f} x by CPU time"
        lines.append(line)
    return lines


def compared(commands: Sequence[tuple[str, str]], model: str, given: argparse.Namespace) -> int:
    """Load all servers in turn and print what came of it; how many requests were lost."""
    loads: dict[tuple[str, int], list[Load]] = {(name, n): [] for name, _ in commands for n in given.clients}
    for _ in range(given.rounds):
        for name, command in commands:
            with started(command, model, given.max_tokens, given.words) as (target, process):
                target.ask("warm")
                for clients in given.clients:
                    loads[name, clients].append(loaded(target, process, clients, given.requests))
    print(*summary(loads), sep="\n")
    return sum(load.wrong for each in loads.values() for load in each)


def main() -> int:
    """Exit code 1 where a server does not come up or loses a request."""
    parser = argparse.ArgumentParser(description="Compare servers of OpenAI's protocol on one model.")
    parser.add_argument("model", help="GGUF file")
    parser.add_argument(
        "--server", action="append", required=True, metavar="NAME=COMMAND", help="with {model} and {port}; repeat"
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16], help="clients at once (default: 1 16)")
    parser.add_argument("--requests", type=int, default=48, help="requests of each load (default: 48)")
    parser.add_argument("--max-tokens", type=int, default=32, help="tokens of an answer (default: 32)")
    parser.add_argument("--words", type=int, default=60, help="words of a prompt (default: 60)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds in turn (default: 2)")
    given = parser.parse_args()
    commands = [(name, command) for name, _, command in (server.partition("=") for server in given.server)]
    try:
        return compared(commands, given.model, given) > 0
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
