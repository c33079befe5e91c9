"""Sequences that share the beginning of their texts: the same bits as with cells of their own; nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from attention_cache import Cache, sequence
from families.converted import write_converted
from naive import nmse

from llmlocal.engine import Engine
from llmlocal.ops.attention import SPLIT_TOKENS
from llmlocal.ops.attention_chunk import CHUNK
from llmlocal.runtime.shared_prefixes import SharedPrefixes

STRIDE = 3 * CHUNK


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("tokens", [1, 9])
def test_attention_to_shared_cells_has_the_bits_of_attention_to_own_cells(kind: str, tokens: int) -> None:
    """Five sequences in one batch: two share 288 tokens, in two chunks, with a third that lends them, and one 32."""
    prefixes, lengths = [(0, 288), (0, 288), (0, 288), (0, 0), (0, 32)], [CHUNK * 2 + 77, 300, 301, 40, 290]
    parts = [sequence(length, 6, 2, 64, seed=10 * i) for i, length in enumerate(lengths)]
    for (_, k, v), (lender, cells) in zip(parts, prefixes, strict=True):
        k[:cells], v[:cells] = parts[lender][1][:cells], parts[lender][2][:cells]
    own, shared = (Cache(kind, 2, 64, STRIDE * len(parts)) for _ in range(2))
    for i, (_, k, v) in enumerate(parts):
        own.store(k, v, STRIDE * i + np.arange(len(k)))
        rest = slice(prefixes[i][1] if i else 0, len(k))
        shared.store(k[rest], v[rest], STRIDE * i + np.arange(len(k))[rest])
    q = np.concatenate([part[0][-tokens:] for part in parts])
    positions = np.concatenate([np.arange(length - tokens, length) for length in lengths])
    bases = np.repeat(STRIDE * np.arange(len(parts)), tokens)
    borrowed = tuple(np.repeat(np.array(column), tokens) for column in zip(*prefixes, strict=True))
    assert (len(q) > SPLIT_TOKENS) == (tokens > 1)
    for rules in ({}, {"window": 100}):
        want = own.attend(q, positions, bases, **rules)
        for threads in (1, 3):
            got = shared.attend(q, positions, bases, None, threads, prefixes=borrowed, **rules)
            assert np.array_equal(got, want)


@pytest.fixture(scope="module", params=["llama", "gemma3", "deepseek2-lite"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models with cells for all positions, with rings besides, and with latents."""
    return write_converted(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = Engine.open(path, n_ctx=400, n_threads=1, n_seqs=4, kv_type="f32")
    yield engine
    engine.close()


def test_a_shared_prefix_has_the_logits_of_a_copied_one(engine: Engine) -> None:
    tokens = [3 + 7 * i % 37 for i in range(350)]
    engine.prefill(tokens, 0)
    parts = [(seq, [5 + seq] * 9) for seq in (1, 2, 3)]
    runs = []
    for own in (False, True):
        for seq, _ in parts:
            assert engine.copy_prefix([*tokens[:310], *[9] * 10], 0, seq) > 0
            if own:
                engine.cells(310, seq)
        runs.append(engine.run([(0, [4]), *parts], [0, 1, 2, 3]).copy())
        engine.truncate(350, 0)
    assert np.array_equal(*runs)


def test_random_edits_of_sequences_that_share_their_beginnings(path: Path, engine: Engine) -> None:
    """Each goes on as a text that is read afresh, whatever becomes of those that it shares cells with."""
    fresh = Engine.open(path, n_ctx=400, n_threads=1, kv_type="f32")
    rng, held, shared = Random(0), list[list[int]]([[], [], [], []]), 0
    for _ in range(60):
        seq, source = rng.sample(range(4), 2)
        if rng.random() < 0.5 and len(held[source]) > 40:
            prompt = [*held[source][: rng.randrange(40, len(held[source]) + 1)], *[3] * 9]
            held[seq] = prompt[: engine.copy_prefix(prompt, source, seq)]
            shared += engine.prefixes.group(seq)[1] > 0
        else:
            held[seq] = held[seq][: rng.choice((0, len(held[seq]) // 2, len(held[seq])))]
            engine.truncate(len(held[seq]), seq)
        chosen = [each for each in range(4) if len(held[each]) < 340 and (each == seq or rng.random() < 0.6)]
        new = {each: [rng.randrange(3, 40) for _ in range(rng.choice((1, 9, 50)))] for each in chosen}
        for each in chosen:
            held[each] = [*held[each], *new[each]]
        if not chosen:
            continue
        for each, logits in zip(chosen, engine.run([*new.items()], range(len(chosen))), strict=True):
            assert engine.history(each) == held[each]
            fresh.truncate(0)
            assert nmse(logits, fresh.prefill(held[each])) <= 1e-9
    fresh.close()
    assert shared > 5 or engine.ring.block_bytes


def test_cells_that_are_lent_are_handed_over_before_they_are_written() -> None:
    """Those that borrow them get one copy, from one of them, and what they do not need any more is not copied."""
    copies = list[tuple[int, int, int, int]]()
    prefixes = SharedPrefixes(1000, lambda *copy: copies.append(copy))
    prefixes.share(0, 1, 300)
    prefixes.share(1, 2, 200)
    prefixes.share(0, 3, 330)
    assert copies == [(0, 1, 288, 320), (1, 2, 192, 224), (0, 3, 288, 352)]
    assert [prefixes.group(seq) for seq in range(4)] == [(0, 288), (0, 288), (0, 192), (0, 288)]
    prefixes.before_write(0, 290)
    prefixes.before_write(2, 100)
    assert copies[3:] == [(0, 2, 96, 128)] and prefixes.group(2) == (0, 96)
    prefixes.before_write(0, 287)
    assert copies[4:] == [(0, 1, 0, 288)]
    assert [prefixes.group(seq) for seq in range(4)] == [(0, 0), (1, 288), (1, 96), (1, 288)]
    prefixes.own(3)
    prefixes.before_write(2, 0)
    assert copies[5:] == [(1, 3, 0, 288)] and [prefixes.group(seq)[1] for seq in range(4)] == [0, 0, 0, 0]
    starts, lengths = np.full(3, 9), np.full(3, 9)
    prefixes.share(3, 1, 64)
    prefixes.fill([0, 1, 3], np.array([5, 64, 200]), starts, lengths)
    assert starts.tolist() == [0, 3000, 3000] and lengths.tolist() == [0, 64, 64]
