"""Writes tests/golden/samplers.json: what llama.cpp's samplers do to the same logits. Needs llama-cpp-python.

    python tools/make_sampler_goldens.py MODEL

MODEL is any file with a vocabulary of at least VOCAB tokens; DRY asks for one. Logits are multiples of 1 / GRID, so
that JSON holds them exactly.
"""

from __future__ import annotations

import ctypes
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llama_cpp as lib
import numpy as np

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "samplers.json"
VOCAB, STEPS, GRID = 48, 10, 1024
QUIET = lib.llama_log_callback(lambda *_: None)


class Candidates:
    """Tokens with their logits, as llama.cpp passes them from sampler to sampler."""

    def __init__(self, logits: list[float]) -> None:
        self._data = (lib.llama_token_data * len(logits))(*((i, logit, 0.0) for i, logit in enumerate(logits)))
        self.array = lib.llama_token_data_array(self._data, len(logits), -1, False)

    def apply(self, sampler: Any) -> None:
        lib.llama_sampler_apply(sampler, ctypes.byref(self.array))

    def left(self) -> dict[int, float]:
        """The logits that are left, by id."""
        some = (self.array.data[i] for i in range(self.array.size))
        return {item.id: item.logit for item in some if item.logit > -1e30}

    @property
    def drawn(self) -> int:
        return int(self.array.data[self.array.selected].id)


def random_logits(seed: int, scale: float = 3.0) -> list[float]:
    """Distinct ones: which of two equal tokens comes first is not llama.cpp's to say either."""
    values = np.unique(np.round(np.random.default_rng(seed).standard_normal(2 * VOCAB) * scale * GRID) / GRID)
    return [float(v) for v in np.random.default_rng(seed).permutation(values)[:VOCAB]]


def probabilities(left: dict[int, float]) -> list[float]:
    """(VOCAB,), sum 1."""
    whole = np.zeros(VOCAB)
    ids = [*left]
    powers = np.exp(np.array([left[id] for id in ids]) - max(left.values()))
    whole[ids] = powers / powers.sum()
    return [round(float(p), 9) for p in whole]


def singles() -> list[dict[str, Any]]:
    """Samplers without a state, each alone: parameters by our names, logits, and probabilities."""
    makers: list[tuple[dict[str, float], Any]] = []
    for n in (0.5, 1.0, 2.0):
        makers.append(({"top_n_sigma": n}, lambda n=n: lib.llama_sampler_init_top_n_sigma(n)))
    for t in (0.05, 0.1, 0.4):
        makers.append(
            ({"xtc_probability": 1.0, "xtc_threshold": t}, lambda t=t: lib.llama_sampler_init_xtc(1.0, t, 0, 1))
        )
    for middle, reach, power in ((0.8, 0.5, 1.0), (1.0, 0.9, 2.0), (0.5, 0.7, 0.5)):
        how = {"temperature": middle, "dynatemp_range": reach, "dynatemp_exponent": power}
        makers.append((how, lambda a=middle, b=reach, c=power: lib.llama_sampler_init_temp_ext(a, b, c)))
    found = []
    for how, make in makers:
        for seed in range(4):
            candidates = Candidates(logits := random_logits(seed, 1.0 + seed))
            candidates.apply(make())
            found.append({"params": how, "logits": logits, "probabilities": probabilities(candidates.left())})
    return found


def chains() -> list[dict[str, Any]]:
    """Orders of stages."""
    parts = {
        "top_k": ({"top_k": 10}, lambda: lib.llama_sampler_init_top_k(10)),
        "top_p": ({"top_p": 0.8}, lambda: lib.llama_sampler_init_top_p(0.8, 0)),
        "min_p": ({"min_p": 0.1}, lambda: lib.llama_sampler_init_min_p(0.1, 0)),
        "temperature": ({"temperature": 1.5}, lambda: lib.llama_sampler_init_temp(1.5)),
    }
    found = []
    for seed, order in enumerate(
        (["temperature", "top_p"], ["top_p", "temperature"], ["min_p", "temperature", "top_k"])
    ):
        candidates, how = Candidates(logits := random_logits(seed)), {}
        for stage in order:
            how |= parts[stage][0]
            candidates.apply(parts[stage][1]())
        found.append(
            {"params": how, "stages": order, "logits": logits, "probabilities": probabilities(candidates.left())}
        )
    return found


def mirostats() -> list[dict[str, Any]]:
    """For each step the ids that stay, and the one that llama.cpp draws, on which its next step depends."""
    found = []
    for tau, eta in ((3.0, 0.1), (1.0, 0.5), (5.0, 0.3)):
        for mode in (1, 2):
            sampler = (
                lib.llama_sampler_init_mirostat(VOCAB, 7, tau, eta, 100)
                if mode == 1
                else lib.llama_sampler_init_mirostat_v2(7, tau, eta)
            )
            steps = []
            for seed in range(STEPS):
                candidates = Candidates(logits := random_logits(seed, 1.0 + seed % 3))
                candidates.apply(sampler)
                steps.append({"logits": logits, "kept": sorted(candidates.left()), "drawn": candidates.drawn})
            found.append({"version": mode, "tau": tau, "eta": eta, "steps": steps})
    return found


def repetitions(vocab: Any) -> list[dict[str, Any]]:
    """What DRY subtracts, by id."""
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        history = [int(i) for i in rng.integers(10, 12 + seed % 2, 30)]
        multiplier, base, allowed, last = 0.8, (1.75, 1.0, 2.5)[seed % 3], 1 + seed % 4, (64, 20)[seed % 2]
        sampler = lib.llama_sampler_init_dry(vocab, multiplier, base, allowed, last, None, 0)
        for id in history:
            lib.llama_sampler_accept(sampler, id)
        candidates = Candidates([0.0] * VOCAB)
        candidates.apply(sampler)
        how = {"dry_multiplier": multiplier, "dry_base": base, "dry_allowed_length": allowed, "dry_last_n": last}
        left = {str(id): round(-logit, 4) for id, logit in candidates.left().items() if logit}
        found.append({"params": how, "history": history, "penalties": left})
    return found


def main(path: str) -> None:
    lib.llama_log_set(QUIET, ctypes.c_void_p())
    how = lib.llama_model_default_params()
    how.vocab_only = True
    model = lib.llama_model_load_from_file(path.encode(), how)
    golden = {
        "tool": f"llama-cpp-python {version('llama_cpp_python')}",
        "singles": singles(),
        "chains": chains(),
        "mirostat": mirostats(),
        "dry": repetitions(lib.llama_model_get_vocab(model)),
    }
    GOLDEN.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
