"""Tiny models of every family, converted and run, against the logits that transformers computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from families import CASES, IDS, VOCAB, golden, write_weights
from families.converted import BOUND, EXACT, write_converted, write_folder
from naive import nmse
from poisoned_memory import poison

from llmlocal.engine import Engine
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import write_gguf
from llmlocal.model_info.memory import memory
from llmlocal.quant.tensor import QTensor
from llmlocal.quantize.convert import convert_model


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    case = request.param
    return case, write_converted(case, tmp_path_factory.mktemp(case))


def test_logits_are_those_of_transformers(model: tuple[str, Path]) -> None:
    case, path = model
    engine = Engine.open(path, n_ctx=48, n_threads=2, ubatch=64, max_outputs=64, kv_type=EXACT)
    got, (_, want) = engine.all_logits(IDS), golden(case)
    with open_gguf(path) as gguf:
        assert memory(gguf.metadata, gguf.tensors, 48, EXACT).cache == engine._cache.nbytes
    engine.close()
    assert want.shape == (len(IDS), VOCAB) and np.array_equal(got.argmax(-1), want.argmax(-1))
    assert nmse(got, want) <= BOUND


def test_a_few_tokens_have_the_same_bits_together(checked: tuple[str, Path]) -> None:
    """As many as `Engine.same_bits` says: speculation relies on it."""
    engine = Engine.open(checked[1], n_ctx=48, n_threads=2, ubatch=64, max_outputs=64, kv_type=EXACT, verified=64)
    few = min(engine.verifiable, 64)
    assert 1 < few < 64
    engine.prefill(IDS[:20])
    alone = [engine.decode(id).tobytes() for id in IDS[20 : 20 + few]]
    engine.truncate(20)
    assert [logits.tobytes() for logits in engine.verify(IDS[20 : 20 + few])] == alone
    engine.close()


def test_logits_through_the_cache(model: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd batches, one token at a time, and a second sequence between them, in memory that nobody has written."""
    poison(monkeypatch)
    case, path = model
    engine, (_, want), at = Engine.open(path, n_ctx=48, n_threads=2, n_seqs=2, ubatch=7, kv_type=EXACT), golden(case), 0
    for size in (1, 3, 13, 1, 1, 5, 9, *[1] * 7):
        got = engine.prefill(IDS[at : at + size])
        engine.prefill(IDS[::-1][at : at + size], 1)
        at += size
        assert nmse(got, want[at - 1]) <= BOUND
    engine.close()
    assert at == len(IDS)


def test_threads_change_no_bit(checked: tuple[str, Path]) -> None:
    seen = set()
    for threads in (1, 2, 5):
        engine = Engine.open(checked[1], n_ctx=48, n_threads=threads, ubatch=16, max_outputs=16)
        seen.add(engine.all_logits(IDS[:30]).tobytes() + engine.decode(5).tobytes() + engine.decode(6).tobytes())
        engine.close()
    assert len(seen) == 1


def test_sizes_of_a_block_that_predicts_further_tokens_are_not_read(tmp_path: Path) -> None:
    """Nemotron's arrays have an element for it. It is neither run nor counted; a folder is converted without it."""
    case = "nemotron_h_moe"
    write_folder(case, tmp_path)
    write_weights(tmp_path, case, golden(case)[0] | {"mtp.layers.0.enorm.weight": (32,)})
    path = convert_model(tmp_path, tmp_path / "m.gguf", "F32").path
    with open_gguf(path) as gguf:
        meta = {**gguf.metadata.raw(), f"{case}.block_count": 6, f"{case}.nextn_predict_layers": 1}
        for key, more in ((f"{case}.attention.head_count_kv", 2), (f"{case}.feed_forward_length", 24)):
            meta[key] = [*gguf.metadata[key], more]
        write_gguf(tmp_path / "with.gguf", meta, gguf.tensors.values())
    engine = Engine.open(tmp_path / "with.gguf", n_ctx=48, n_threads=1, ubatch=64, max_outputs=64, kv_type=EXACT)
    assert nmse(engine.all_logits(IDS), golden(case)[1]) <= BOUND
    with open_gguf(tmp_path / "with.gguf") as gguf:
        assert memory(gguf.metadata, gguf.tensors, 48, EXACT).cache == engine._cache.nbytes
    engine.close()


def test_states_of_rwkv_may_be_halved_between_blocks(tmp_path: Path) -> None:
    """As llama.cpp's converter writes them, with weights divided by as much."""
    path, factor = write_converted("rwkv6", tmp_path), {0: 1, 1: 1, 2: 2}
    with open_gguf(path) as gguf:
        tensors = dict(gguf.tensors)
        for i, by in factor.items():
            for name in (f"blk.{i}.time_mix_output.weight", f"blk.{i}.channel_mix_value.weight"):
                less = np.ascontiguousarray(tensors[name].dequantize() / by)
                tensors[name] = QTensor(name, tensors[name].format, tensors[name].shape, memoryview(less.tobytes()))
        meta = gguf.metadata.raw() | {"rwkv6.rescale_every_n_layers": 2}
        write_gguf(tmp_path / "halved.gguf", meta, tensors.values())
    engine = Engine.open(tmp_path / "halved.gguf", n_ctx=48, n_threads=2, ubatch=64, max_outputs=64)
    assert nmse(engine.all_logits(IDS), golden("rwkv6")[1]) <= BOUND
    engine.close()
