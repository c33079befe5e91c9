"""Random edits of two conversations, whose logits must be those of texts that are read afresh."""

from __future__ import annotations

from random import Random

import numpy as np
from naive import nmse

from llmlocal.engine import Engine

BOUND = 1e-9  # of logits in float32, which way ever a sequence was read


def read(engine: Engine, tokens: list[int]) -> np.ndarray:
    engine.truncate(0)
    return engine.prefill(tokens)


def edited(engine: Engine, fresh: Engine, seed: int, edits: int) -> dict[str, int]:
    """Append, truncate, retry, ask something else, switch to the other sequence, or take over what it begins with.

    `engine` has two sequences and is closed in the end. Returns what was met on the way, by name.
    """
    rng, held, met = Random(seed), list[list[int]]([[], []]), {"read again": 0, "copied": 0}
    for _ in range(edits):
        seq, before = rng.randrange(2), [[*some] for some in held]
        new = [rng.randrange(3, 40) for _ in range(rng.choice((1, 1, 2, 9, 40, 150, 300)))]
        if len(held[seq]) + len(new) > engine.n_ctx:
            held[seq] = []
            engine.truncate(0, seq)
        if rng.random() < 0.3:
            cut = rng.randrange(len(held[seq]) + 1)
            engine.truncate(cut, seq)
            held[seq] = held[seq][:cut]
        way = rng.random()
        if way < 0.5:
            prompt = [*held[seq][: rng.randrange(len(held[seq]) + 1)], *new]
            met["read again"] += engine.behind_window(prompt, seq) > 0
            logits = engine.prefill(prompt[engine.reuse(prompt, seq) :], seq)
        elif way < 0.6:
            other = held[1 - seq]
            prompt = [*other[: rng.randrange(len(other) + 1)], *new][: engine.n_ctx]
            kept = engine.copy_prefix(prompt, 1 - seq, seq)
            met["copied"] += kept > 0
            logits = engine.prefill(prompt[kept:], seq)
        else:
            prompt, logits = [*held[seq], *new], engine.prefill(new, seq)
        held[seq] = prompt
        assert engine.history(seq) == prompt and held[1 - seq] == before[1 - seq]
        assert nmse(logits, read(fresh, prompt)) <= BOUND
    engine.close()
    return met
