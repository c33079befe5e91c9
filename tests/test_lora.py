"""LoRA adapters at run time: what is computed, against PEFT, and against weights that NumPy merged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from families import IDS
from families.converted import BOUND, EXACT, write_converted
from hf_folders import CASES as FOLDERS
from hf_folders import drawn, write_folder
from lora_cases import CASES, golden, write_adapter
from naive import encoded, nmse, number, run
from numpy.typing import NDArray
from test_convert_lora import ALPHA, RANK, values, write_gguf_adapter, write_peft

from llmlocal.engine import Engine
from llmlocal.gguf import open_gguf, write_gguf
from llmlocal.layers import Layers
from llmlocal.layers.low_rank import Change, LowRank
from llmlocal.lora.run_time import changes
from llmlocal.ops.low_rank_add import TILE, low_rank_add, low_rank_add_reference, tiled
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.tensor import QTensor
from llmlocal.quantize.convert import convert_model
from llmlocal.runtime.batch import Batch
from llmlocal.runtime.executor import ThreadTeam
from llmlocal.runtime.graph import Graph
from llmlocal.runtime.kv_cache import KVCache

load_all()
Floats = NDArray[np.float32]
Adapters = Sequence[tuple[Path, float]]


@pytest.mark.parametrize("floats", [False, True], ids=["i8", "f32"])
@pytest.mark.parametrize("rows", [1, 13, 64, 200])
def test_kernel(rows: int, floats: bool) -> None:
    """Against its reference: columns of t between others, tails, several threads, a token alone or in a batch."""
    rng, results = np.random.default_rng(rows), []
    b = rng.normal(size=(rows, 5)).astype(np.float32)
    packed = tiled(b, floats=floats)
    exact = b if floats else unpacked(packed, rows)
    assert nmse(exact, b) <= (0 if floats else 1e-4)
    all_t, all_y = (rng.normal(size=(9, width)).astype(np.float32) for width in (20, rows))
    for tokens, threads in ((1, 1), (1, 3), (2, 1), (9, 1), (9, 3)):
        t, y = all_t[:tokens].copy(), all_y[:tokens].copy()
        places = {"t_row": 20, "first": 3, "rank": 5, "rows": rows}
        run(low_rank_add(floats=floats), threads=threads, tokens=number(tokens), t=t, b=packed, y=y, **places)
        want = low_rank_add_reference(*(x.astype(np.float64) for x in (t[:, 3:8], exact, all_y[:tokens])))
        assert nmse(y, want) <= 1e-13
        results.append(y[0].tobytes())
    assert len(set(results)) == 1


def unpacked(packed: NDArray[np.uint8], rows: int) -> NDArray[np.float64]:
    """B (rows, rank) of tiles of int8 with their scales."""
    quants, scales = packed[:, :, :TILE].view(np.int8), np.ascontiguousarray(packed[:, :, TILE:]).view(np.float32)
    wide: NDArray[np.float64] = quants.astype(np.float64) * scales
    return wide.swapaxes(1, 2).reshape(-1, packed.shape[1])[:rows]


@pytest.mark.parametrize("tokens", [1, 11])
@pytest.mark.parametrize("size", [1.0, 1e-6])
def test_changes_of_matrices_of_one_input(tokens: int, size: float) -> None:
    """Q4_1, Q8_0 and F32 read one input, the first in two parts; what is added is B A x, also where B is tiny."""
    rng, k = np.random.default_rng(2), 64
    x = rng.normal(size=(tokens, k)).astype(np.float32)
    weights, change, want = {}, {}, {}
    for name, rows, rank in (("Q4_1", 48, 16), ("Q8_0", 24, 3), ("F32", 40, 5)):
        w = encoded(BY_NAME[name], (rng.normal(size=(rows, k)) / 8).astype(np.float32))
        weights[name] = QTensor(name, BY_NAME[name], (rows, k), memoryview(w.ravel()))
        a, b = rng.normal(size=(rank, k)) / 8, size * rng.normal(size=(rows, rank))
        change[name] = Change("adapter", b.astype(np.float32), a.astype(np.float32))
        want[name] = x.astype(np.float64) @ (b @ a).T
    parts = [weights["F32"], weights["Q4_1"].part(0, 16), weights["Q8_0"], weights["Q4_1"].part(16, 48)]
    changed = _products(x, parts, LowRank(change, weights))
    plain = _products(x, parts, LowRank({}, {}))
    wanted = np.hstack([want["F32"], want["Q4_1"][:, :16], want["Q8_0"], want["Q4_1"][:, 16:]])
    assert nmse(changed[:, :40] - plain[:, :40], wanted[:, :40]) <= (1e-11 if size == 1 else 1e-2)  # of a sum with W x
    if size == 1:
        assert 1e-9 < nmse(changed - plain, wanted) <= 1e-4


def _products(x: Floats, weights: Sequence[QTensor], low_rank: LowRank) -> NDArray[np.float64]:
    """x @ W.T of all weights, side by side."""
    tokens, batch = len(x), Batch(len(x), len(x))
    graph = Graph(batch, 2)
    layers = Layers(graph, KVCache(tokens, 1, "f16"), low_rank=low_rank)
    table = QTensor("x", BY_NAME["F32"], x.shape, memoryview(x.reshape(-1).view(np.uint8)))
    outs = layers.linears(layers.embed(table), *((weight, None) for weight in weights))
    low_rank.finish()
    batch.resize(tokens, tokens)
    batch.ids[:] = np.arange(tokens)
    for out in outs:
        graph.keep(out)
    team = ThreadTeam(2)
    team.run(graph.finish())
    team.close()
    kept = [out.kept.view(np.float32).reshape(tokens, -1) for out in outs if out.kept is not None]
    return np.hstack(kept).astype(np.float64)


def logits(path: Path, adapters: Adapters = (), *, copied: bool = False, threads: int = 2) -> Floats:
    """Of all tokens in batches, with a last one alone."""
    with open_gguf(path) as gguf:
        more = {"low_rank": changes(gguf, adapters)} if adapters else {}
        sizes = {"n_ctx": 48, "n_threads": threads, "ubatch": 23, "max_outputs": 64}
        engine = Engine.open(gguf, kv_type=EXACT, copy_weights=copied, **sizes, **more)
        found = engine.all_logits(IDS[:-1])
        last = engine.decode(IDS[-1])
        engine.close()
    return np.vstack([found, last])


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_peft(case: str, tmp_path: Path) -> None:
    """Rank and alpha patterns, rsLoRA, embeddings, fused and permuted projections, matrices stored transposed."""
    config, shapes, want = golden(case)
    model = write_converted(CASES[case][0], tmp_path)
    got = logits(model, [(write_adapter(tmp_path / "adapter", config, shapes), 1.0)])
    assert nmse(got, want) <= BOUND and nmse(logits(model), want) > 0.01


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model in F32 and Q8_0, and adapters: peft, adapter.gguf."""
    path = tmp_path_factory.mktemp("llama")
    folder = write_folder(path / "folder", FOLDERS["llama-linear"])
    config = json.loads((folder / "config.json").read_text())
    for name in ("f32", "q8_0"):
        convert_model(folder, path / f"{name}.gguf", name)
    write_peft(path / "peft", config)
    write_gguf_adapter(path / "adapter.gguf", config)
    convert_model(folder, path / "merged-q8_0.gguf", "q8_0", lora=[path / "peft"])
    return path


def test_several_adapters_add_up(llama: Path, tmp_path: Path) -> None:
    """0.5 times one and -2 times the other equals weights merged by NumPy; the same adapter twice is twice of it."""
    merged = values(llama / "f32.gguf")
    with open_gguf(llama / "adapter.gguf") as gguf:
        for name in {name.rpartition(".lora_")[0] for name in gguf.tensors}:
            a, b = (gguf.tensors[f"{name}.lora_{x}"].dequantize().astype(np.float64) for x in "ab")
            merged[name] = (merged[name] - 1.5 * ALPHA / RANK * b @ a).astype(np.float32)
    with open_gguf(llama / "f32.gguf") as gguf:
        tensors = [QTensor(n, BY_NAME["F32"], x.shape, memoryview(x.reshape(-1).view("u1"))) for n, x in merged.items()]
        write_gguf(tmp_path / "merged.gguf", gguf.metadata.raw(), tensors)
    got = logits(llama / "f32.gguf", [(llama / "peft", 0.5), (llama / "adapter.gguf", -2.0)])
    assert nmse(got, logits(tmp_path / "merged.gguf")) <= BOUND
    twice = logits(llama / "f32.gguf", [(llama / "peft", 1.0)] * 2)
    assert nmse(twice, logits(llama / "f32.gguf", [(llama / "adapter.gguf", 2.0)])) <= BOUND


def test_an_adapter_of_nothing_changes_no_number(llama: Path) -> None:
    assert np.array_equal(logits(llama / "f32.gguf", [(llama / "peft", 0.0)]), logits(llama / "f32.gguf"))


@pytest.mark.parametrize("copied", [False, True], ids=["mapped", "copied"])
def test_beside_quantized_weights(copied: bool, llama: Path) -> None:
    """As close to the sum in F32 as a model that was merged, then quantized; threads change no bit."""
    adapters = [(llama / "adapter.gguf", 1.0)]
    exact, got = (logits(llama / f"{name}.gguf", adapters, copied=copied) for name in ("f32", "q8_0"))
    assert nmse(got, exact) <= 2 * nmse(logits(llama / "merged-q8_0.gguf"), exact)
    for threads in (1, 5):
        assert np.array_equal(logits(llama / "q8_0.gguf", adapters, copied=copied, threads=threads), got)


@pytest.mark.parametrize("copied", [False, True], ids=["mapped", "copied"])
def test_a_few_tokens_have_the_same_bits_together(copied: bool, llama: Path) -> None:
    with open_gguf(llama / "q8_0.gguf") as gguf:
        low_rank = changes(gguf, [(llama / "peft", 1.0)])
        engine = Engine.open(gguf, n_ctx=48, max_outputs=32, copy_weights=copied, low_rank=low_rank)
        few = min(engine.same_bits, 20)
        engine.prefill(IDS[:20])
        alone = [engine.decode(id).tobytes() for id in IDS[20 : 20 + few]]
        engine.truncate(20)
        assert few > 1 and [row.tobytes() for row in engine.verify(IDS[20 : 20 + few])] == alone
        engine.close()


def test_what_is_cached_is_told_apart(llama: Path) -> None:
    """By adapter and by scale: the key of the prompt cache and of the costs of runs."""
    seen = set()
    for adapters in ([], [(llama / "peft", 1.0)], [(llama / "peft", 0.5)], [(llama / "peft", 1.0)] * 2):
        with open_gguf(llama / "f32.gguf") as gguf:
            more = {"low_rank": changes(gguf, adapters)} if adapters else {}
            engine = Engine.open(gguf, n_ctx=48, load=False, **more)
            seen.add(engine.cache_format)
            engine.close()
    assert len(seen) == 4


def test_drawn_factors_change_the_prediction(llama: Path) -> None:
    """The adapters of these tests are no small thing: without them the logits are others."""
    assert nmse(logits(llama / "f32.gguf"), logits(llama / "f32.gguf", [(llama / "peft", 1.0)])) > 0.1
    assert drawn("A", (2, 2)).std() > 0
