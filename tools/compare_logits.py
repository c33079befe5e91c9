"""Feed the same random tokens to llmlocal and llama.cpp and compare the logits after each of them.

    python tools/compare_logits.py model.gguf --peer-python PATH --logits 512

Knows what a difference means: both engines round activations, so near ties may fall either way, and the top token
must agree only where llama.cpp's margin exceeds four times the RMS difference. Exit code 1 where it does not agree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from bench_peers import SCRIPTS
from bench_protocol import Worker
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Difference:
    """`nmse` is sum (a - b)^2 / sum b^2; `kld` the mean divergence from b's distribution to a's, in nats."""

    nmse: float
    rms: float
    kld: float
    positions: int
    clear: int  # positions where b's margin exceeds 4 rms
    agreeing: int  # of those, where a has the same top token
    agreeing_everywhere: int

    def __str__(self) -> str:
        return (
            f"NMSE {self.nmse:.3g}, RMS difference {self.rms:.3g}, mean KLD {self.kld:.3g}; top token agrees at "
            f"{self.agreeing} of {self.clear} clear positions, {self.agreeing_everywhere} of {self.positions} in all"
        )


def compare(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Difference:
    """Compare logits (n, vocabulary) against a reference. Raises ValueError for other shapes, NaN and infinity."""
    if ours.shape != theirs.shape:
        raise ValueError(f"logits of shape {ours.shape} and {theirs.shape}")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError("logits hold NaN or infinity")
    squares, energy, klds = [], [], []
    for a, b in zip(ours.astype(np.float64), theirs.astype(np.float64), strict=True):
        squares.append(((a - b) ** 2).sum())
        energy.append((b**2).sum())
        log_p, log_q = _log_softmax(b), _log_softmax(a)
        klds.append((np.exp(log_p) * (log_p - log_q)).sum())
    rms = float(np.sqrt(np.sum(squares) / ours.size))
    top = np.partition(theirs, -2, axis=1)[:, -2:]
    clear = top[:, 1] - top[:, 0] > 4 * rms
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    nmse, kld = float(np.sum(squares) / np.sum(energy)), float(np.mean(klds))
    return Difference(nmse, rms, kld, len(same), int(clear.sum()), int((clear & same).sum()), int(same.sum()))


def _log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted: NDArray[np.float64] = x - x.max()
    shifted -= np.log(np.exp(shifted).sum())
    return shifted


def logits_of(name: str, python: Path, model: Path, threads: int, n: int, path: Path) -> NDArray[np.float32]:
    """Start one engine, let it save its logits after each of `n` tokens to `path`, and end it."""
    with Worker(name, python, SCRIPTS[name], model, threads, max(64, n)) as worker:
        worker.ask("logits", n=n, path=str(path))
    saved: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return saved


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare llmlocal's logits with llama.cpp's.")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--peer-python", type=Path, default=sys.executable, help="one with llama-cpp-python")
    parser.add_argument("--logits", type=int, default=512, metavar="N", help="number of tokens")
    parser.add_argument("-t", "--threads", type=int, default=2)
    args = parser.parse_args(argv)
    failed = 0
    for model in args.models:
        with TemporaryDirectory() as folder:
            both = [
                logits_of(name, python, model, args.threads, args.logits, Path(folder) / f"{name}.npy")
                for name, python in (("llmlocal", Path(sys.executable)), ("llama.cpp", args.peer_python))
            ]
            difference = compare(*both)
        failed |= difference.agreeing < difference.clear
        print(f"{model.name}: {difference}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
