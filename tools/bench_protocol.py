"""The line between a benchmark and its engines: each engine is a process that answers JSON lines on stdin and stdout.

Knows how a run is timed and which tokens it is fed, so that all engines do exactly the same work. Knows no engine.
Imports the standard library alone, because one side runs in an interpreter that has none of our packages.

    {"op": "pp", "n": 512, "depth": 0}            seconds to read 512 tokens at once
    {"op": "tg", "n": 64, "depth": 1024}          seconds to read 64 tokens one by one after 1024 others
    {"op": "pp", "n": 512, "cpu": true}           seconds of the process's CPU time in place of the clock's
    {"op": "logits", "n": 512, "path": "x.npy"}   logits after each of 512 tokens, saved as (512, vocabulary) float32
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

SETTLE = 0.2  # seconds between runs: the other engine's threads stop spinning, the clock rate recovers


class Engine(Protocol):
    """What a worker wraps around the engine it serves."""

    info: str
    n_vocab: int

    def clear(self) -> None:
        """Forget all tokens."""

    def feed(self, ids: Sequence[int]) -> None:
        """Read tokens after those already read; return when the last one's logits are in memory."""

    def save_logits(self, ids: Sequence[int], path: str) -> None:
        """Read tokens from an empty context and save the logits after each as a .npy, (n, n_vocab) float32."""


def token_ids(n: int, n_vocab: int, seed: int = 0) -> list[int]:
    """`n` random tokens, the same for every engine."""
    rng = random.Random(seed)
    return [rng.randrange(n_vocab) for _ in range(n)]


def measure(engine: Engine, op: str, n: int, depth: int = 0, *, cpu: bool = False) -> float:
    """Seconds for `n` tokens, all at once (`pp`) or one by one (`tg`), after `depth` tokens that are not timed.

    `cpu`: of CPU time, all threads together.
    """
    clock = time.process_time if cpu else time.perf_counter
    ids = token_ids(depth + n, engine.n_vocab)
    engine.clear()
    if depth:
        engine.feed(ids[:depth])
    start = clock()
    for group in {"pp": [ids[depth:]], "tg": [[i] for i in ids[depth:]]}[op]:
        engine.feed(group)
    return clock() - start


def serve(engine: Engine, seconds: Callable[[str, int, int], float] | None = None) -> None:
    """Warm up, say so, and answer requests until stdin ends. What libraries print goes to stderr.

    `seconds` measures instead of `measure`, by the clock, for an engine that cannot be fed token by token.
    """

    def timed(op: str, n: int, depth: int, cpu: bool = False) -> float:
        return seconds(op, n, depth) if seconds else measure(engine, op, n, depth, cpu=cpu)

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for op, n in ("pp", 64), ("tg", 4):
        timed(op, n, 0)
    print(json.dumps({"info": engine.info, "n_vocab": engine.n_vocab}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "logits":
            engine.clear()
            engine.save_logits(token_ids(request["n"], engine.n_vocab), request["path"])
            answer = {"path": request["path"]}
        else:
            answer = {"seconds": timed(request["op"], request["n"], request.get("depth", 0), request.get("cpu", False))}
        print(json.dumps(answer), file=answers)


class Worker:
    """A running engine process; a context manager that ends it. Raises RuntimeError when it dies."""

    def __init__(
        self,
        name: str,
        python: Path,
        script: Path,
        model: Path,
        threads: int,
        n_ctx: int,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`env`: environment variables besides those of this process."""
        self.name = name
        command = [str(python), str(script), str(model), str(threads), str(n_ctx)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
        )
        ready = self._answer()
        self.info: str = ready["info"]
        self.n_vocab: int = ready["n_vocab"]

    def ask(self, op: str, **rest: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        time.sleep(SETTLE)
        self._process.stdin.write(json.dumps({"op": op, **rest}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._close()
            raise RuntimeError(f"{self.name} ended with exit code {self._process.returncode}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.terminate()
        self._close()

    def _close(self) -> None:
        """A worker ends when its stdin does."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
