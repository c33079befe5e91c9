"""The engine on tiny random models: what it computes, and that it computes the same however it is asked."""

from __future__ import annotations

import itertools
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive import Llama, encoded, nmse
from numpy.typing import NDArray
from product_formats import PRODUCT_FORMATS

from llmlocal.engine import Engine
from llmlocal.errors import BadFileError, PromptTooLongError, UsageError
from llmlocal.gguf import open_gguf
from llmlocal.gguf.values import ValueType
from llmlocal.gguf.writer import write_gguf
from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.kernels.matmul import TILED_TOKENS
from llmlocal.quant.tensor import QTensor
from llmlocal.runtime.executor import ThreadTeam
from llmlocal.runtime.graph import Graph

Array = NDArray[Any]
IDS = np.random.default_rng(5).integers(0, 96, 64).tolist()


@dataclass(frozen=True)
class Tiny:
    """A random llama of two layers: `format` is that of matrices, `keys` change the metadata, None removes one."""

    format: str = "F32"
    width: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    vocab: int = 96
    ffn: int = 160
    tied: bool = True
    biases: bool = False
    rope_freqs: bool = False
    keys: Mapping[str, Any] = field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        m = {
            "general.architecture": "llama",
            "llama.context_length": 128,
            "llama.embedding_length": self.width,
            "llama.block_count": 2,
            "llama.feed_forward_length": self.ffn,
            "llama.attention.head_count": self.heads,
            "llama.attention.head_count_kv": self.kv_heads,
            "llama.attention.key_length": self.head_dim,
            "llama.attention.value_length": self.head_dim,
            "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.rope.dimension_count": self.head_dim,
        } | dict(self.keys)
        return {key: value for key, value in m.items() if value is not None}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        w, q, kv = self.width, self.heads * self.head_dim, self.kv_heads * self.head_dim
        block = {"attn_q": (q, w), "attn_k": (kv, w), "attn_v": (kv, w), "attn_output": (w, q)}
        block |= {"ffn_gate": (self.ffn, w), "ffn_up": (self.ffn, w), "ffn_down": (w, self.ffn)}
        out: dict[str, tuple[int, ...]] = {"token_embd.weight": (self.vocab, w), "output_norm.weight": (w,)}
        for i in range(2):
            out |= {f"blk.{i}.{name}.weight": shape for name, shape in block.items()}
            out |= {f"blk.{i}.{name}.bias": shape[:1] for name, shape in block.items() if self.biases}
            out |= {f"blk.{i}.attn_norm.weight": (w,), f"blk.{i}.ffn_norm.weight": (w,)}
        out |= {} if self.tied else {"output.weight": (self.vocab, w)}
        return out | ({"rope_freqs.weight": (self.head_dim // 2,)} if self.rope_freqs else {})

    def values(self) -> dict[str, NDArray[np.float32]]:
        """Norms around 1, divisors of frequencies from 1 to 4, matrices that keep the size of what they multiply."""
        rng, out = np.random.default_rng(3), {}
        for name, shape in self.shapes().items():
            centre = {"norm": 1.0, "freq": 2.5}.get(name.rsplit(".", 1)[0][-4:].replace("reqs", "freq"), 0.0)
            spread = shape[-1] ** -0.5 if len(shape) == 2 else 0.2
            out[name] = np.abs(rng.normal(centre, spread, shape)) if centre else rng.normal(0, spread, shape)
        return {name: x.astype(np.float32) for name, x in out.items()}

    def write(self, path: Path, values: Mapping[str, Array] | None = None) -> Path:
        tensors = []
        for name, x in (values or self.values()).items():
            form = BY_NAME[self.format if x.ndim == 2 else "F32"]
            tensors.append(QTensor(name, form, x.shape, memoryview(encoded(form, x).ravel())))
        write_gguf(path, self.metadata(), tensors)
        return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny().write(tmp_path_factory.mktemp("models") / "plain.gguf")


@pytest.fixture(scope="module")
def meaning(plain: Path) -> Llama:
    with open_gguf(plain) as gguf:
        return Llama.of(gguf)


@pytest.fixture
def engine(plain: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """With a cache in F32: what F16 rounds the other way would hide smaller faults."""
    engine = Engine.open(plain, n_threads=2, n_seqs=3, ubatch=7, max_outputs=64, kv_type="f32")
    yield engine
    engine.close()


YARN = {
    "llama.rope.scaling.type": "yarn",
    "llama.rope.scaling.factor": 4.0,
    "llama.rope.scaling.original_context_length": 32,
}
DEFAULTED = [f"llama.attention.{k}" for k in ("head_count_kv", "key_length", "value_length")]
DEFAULTED.append("llama.rope.dimension_count")
MODELS = {
    "plain": Tiny(),
    "untied": Tiny(tied=False),
    "biases": Tiny(biases=True),
    "one key head": Tiny(heads=6, kv_heads=1, head_dim=24, width=72, ffn=100, vocab=97),
    "wide": Tiny(width=256, heads=8, kv_heads=8, head_dim=32),
    "defaults": Tiny(kv_heads=4, keys=dict.fromkeys(DEFAULTED)),
    "partial rotation": Tiny(keys={"llama.rope.dimension_count": 6}),
    "no rotation": Tiny(keys={"llama.rope.dimension_count": 0}),
    "rope_freqs": Tiny(rope_freqs=True, keys={"llama.rope.freq_base": 500.0}),
    "linear": Tiny(keys={"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.5}),
    "attn_factor": Tiny(keys={"llama.rope.scaling.factor": 2.5, "llama.rope.scaling.attn_factor": 1.3}),
    "yarn": Tiny(keys=YARN),
}  # fmt: skip


def compare(tiny: Tiny, path: Path, kv_type: str = "f16") -> float:
    """Error of all logits of 64 tokens in batches of 23."""
    with open_gguf(tiny.write(path)) as gguf:
        want = Llama.of(gguf).logits(IDS)
    engine = Engine.open(path, n_threads=2, ubatch=23, max_outputs=64, kv_type=kv_type)
    got = engine.all_logits(IDS)
    engine.close()
    assert tiny.format != "F32" or np.array_equal(got.argmax(-1), want.argmax(-1))
    return nmse(got, want)


@pytest.mark.parametrize("name", MODELS)
def test_logits_mean_what_a_naive_forward_pass_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Llama, "CACHE", np.float64)
    assert compare(MODELS[name], tmp_path / "m.gguf", "f32") <= 1e-9


def test_cache_of_half_floats_costs_little(tmp_path: Path) -> None:
    assert compare(Tiny(), tmp_path / "m.gguf") <= 1e-8


def test_cache_of_bytes_costs_little(tmp_path: Path) -> None:
    assert 1e-8 < compare(Tiny(format="F16", width=128, head_dim=32), tmp_path / "m.gguf", "q8_0") <= 1e-3


def test_a_cache_that_cannot_be_is_refused(plain: Path) -> None:
    with pytest.raises(UsageError, match="unknown KV cache type 'q4_0'"):
        Engine.open(plain, n_threads=1, kv_type="q4_0")
    with pytest.raises(UsageError, match="multiple of 32; this model has"):
        Engine.open(plain, n_threads=1, kv_type="q8_0")


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_cells_may_be_copied_to_another_sequence(kv_type: str, tmp_path: Path) -> None:
    path = Tiny(width=128, head_dim=32).write(tmp_path / "m.gguf")
    engine = Engine.open(path, n_threads=1, n_ctx=96, n_seqs=2, kv_type=kv_type)
    engine.prefill(list(IDS[:41]), 0)
    for source, target in zip(engine._cache.first_cells(41, 0), engine._cache.first_cells(41, 1), strict=True):
        target[:] = source
    engine._tokens[1] = list(IDS[:41])
    assert np.array_equal(engine.decode(5, 1), engine.decode(5, 0))
    engine.close()


@pytest.mark.parametrize("fmt", PRODUCT_FORMATS)
def test_logits_of_every_format(fmt: type[Format], tmp_path: Path) -> None:
    size = {"width": 256, "ffn": 512, "head_dim": 64} if fmt.block > 32 else {}
    assert compare(Tiny(format=fmt.name, **size), tmp_path / "m.gguf") <= 1.5e-3


@pytest.mark.parametrize("sizes", [[64], [1] * 64, [3, 1, 30, 7, 23], [8, 56]])
def test_batches_of_any_size_give_the_same_logits(engine: Engine, meaning: Llama, sizes: list[int]) -> None:
    want, start = meaning.logits(IDS, np.float64), 0
    for size in sizes:
        got = engine.prefill(IDS[start : start + size])
        start += size
        assert nmse(got, want[start - 1]) <= 1e-9 and got.argmax() == want[start - 1].argmax()
    assert engine.length() == start == 64


def test_sequences_in_one_batch_are_as_if_alone(engine: Engine, meaning: Llama) -> None:
    texts = [IDS[:20], IDS[20:23], IDS[30:47]]
    for seq, text in enumerate(texts):
        engine.prefill(text, seq)
    for step in range(5):
        seqs = [2, 0, 1][: 3 - step % 2]
        for seq in seqs:
            texts[seq] = [*texts[seq], IDS[50 + step + seq]]
        got = engine.run([(seq, texts[seq][-1:]) for seq in seqs], range(len(seqs)))
        for row, seq in zip(got, seqs, strict=True):
            assert nmse(row, meaning.logits(texts[seq], np.float64)[-1]) <= 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_random_walk_agrees_with_lists(engine: Engine, meaning: Llama, seed: int) -> None:
    """Append, decode, truncate and reuse in any order; a list of tokens says what the cache must hold."""
    rng, lists = np.random.default_rng(seed), [[], [], []]
    for _ in range(40):
        seq = int(rng.integers(3))
        held = lists[seq]
        new = rng.integers(0, 96, rng.integers(1, 12)).tolist()
        match rng.integers(3):
            case 0:
                cut = int(rng.integers(0, len(held) + 1))
                engine.truncate(cut, seq)
                del held[cut:]
            case 1:
                wanted = held[: rng.integers(0, len(held) + 1)] + new
                same = itertools.takewhile(lambda p: p[0] == p[1], zip(held, wanted, strict=False))
                shared = min(len(list(same)), len(wanted) - TILED_TOKENS)
                shared = shared if shared >= TILED_TOKENS else 0
                assert engine.reuse(wanted, seq) == shared
                new, held[shared:] = wanted[shared:], []
        if len(held) + len(new) > 128:
            continue
        held += new
        assert nmse(engine.prefill(new, seq), meaning.logits(held, np.float64)[-1]) <= 1e-9
        assert [engine.length(i) for i in range(3)] == [len(x) for x in lists]


@pytest.mark.parametrize("form", ["F32", "Q8_0"])
def test_threads_and_repeats_change_no_bit(form: str, tmp_path: Path) -> None:
    path, seen = Tiny(format=form).write(tmp_path / "m.gguf"), set()
    for threads in (1, 2, 3, 8, 1, 4):
        engine = Engine.open(path, n_threads=threads, ubatch=32, max_outputs=64)
        for _ in range(2):
            engine.truncate(0)
            seen.add(engine.all_logits(IDS[:50]).tobytes() + b"".join(engine.decode(t).tobytes() for t in IDS[50:56]))
        engine.close()
    assert len(seen) == 1


# ---- refusals ------------------------------------------------------------------------------------------------------


def test_context_has_an_end(plain: Path) -> None:
    engine = Engine.open(plain, n_ctx=10, n_threads=1)
    engine.prefill(IDS[:9])
    with pytest.raises(PromptTooLongError, match="11 tokens do not fit a context of 10, 1 too many") as refusal:
        engine.prefill(IDS[:2])
    assert refusal.value.exit_code == 7 and "--ctx 11" in refusal.value.hint
    assert engine.length() == 9
    engine.decode(1)
    with pytest.raises(PromptTooLongError):
        engine.decode(1)
    engine.close()


@pytest.mark.parametrize("tokens", [[96], [-1], [0, 1 << 40], []])
def test_ids_out_of_range_are_refused(engine: Engine, tokens: list[int]) -> None:
    for call in (engine.prefill, engine.all_logits):
        with pytest.raises(UsageError):
            call(tokens)
    assert engine.length() == 0


def test_wrong_sequences_are_refused(engine: Engine) -> None:
    for tokens, seqs in (([1, 2], [0, 0]), ([1], [3]), ([1], [-1]), ([1, 96], [0, 1])):
        with pytest.raises(UsageError):
            engine.run([(seq, [token]) for token, seq in zip(tokens, seqs, strict=True)], range(len(seqs)))
    assert [engine.length(i) for i in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("name", ["blk.0.attn_q", "blk.1.ffn_down", "token_embd", "blk.1.attn_norm"])
def test_weight_that_is_not_finite_is_named(name: str, tmp_path: Path) -> None:
    values = Tiny().values()
    name += ".weight"
    values[name].flat[5] = 7.25
    data = Tiny().write(tmp_path / "m.gguf", values).read_bytes()
    marked, nan = np.float32(7.25).tobytes(), np.float32(np.nan).tobytes()
    assert data.count(marked) == 1
    (tmp_path / "m.gguf").write_bytes(data.replace(marked, nan))
    with pytest.raises(BadFileError, match=f"tensor '{name}' holds a value that is not finite") as refusal:
        Engine.open(tmp_path / "m.gguf", n_threads=1).prefill(list(range(96)))
    assert refusal.value.exit_code == 5


WRONG = {
    "embedding rows": ({"tokenizer.ggml.tokens": ["x"] * 97}, "'token_embd.weight' is (96, 64), must be (97, 64)"),
    "no heads": ({"llama.attention.head_count": 0}, "head_count is 0"),
    "layers": ({"llama.block_count": 1 << 31}, "block_count is 2147483648"),
    "odd rotation": ({"llama.rope.dimension_count": 7}, "dimension_count is 7, must be even"),
    "tiny factor": ({"llama.rope.scaling.factor": (ValueType.F64, 1e-310)}, "factor is 1e-310, too near to 0"),
    "long rotation": ({"llama.rope.dimension_count": 18}, "dimension_count is 18, must be 0 to 16"),
    "kv heads": ({"llama.attention.head_count_kv": 3}, "4 attention heads are not a multiple of 3 key heads"),
    "many kv heads": ({"llama.attention.head_count_kv": 8}, "4 attention heads are not a multiple of 8 key heads"),
    "eps": ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "layer_norm_rms_epsilon is nan"),
    "heads as text": ({"llama.attention.head_count": "4"}, "head_count must be an integer"),
    "no width": ({"llama.embedding_length": None}, "embedding_length is missing"),
    "value length": ({"llama.attention.value_length": 8}, "attention.value_length that differs"),
    "experts": ({"llama.expert_count": 8}, "expert_used_count is missing"),
    "few experts": ({"llama.expert_count": 2, "llama.expert_used_count": 3}, "expert_used_count is 3, must be 1 to 2"),
    "gating of experts": (
        {"llama.expert_count": 2, "llama.expert_gating_func": 4},
        "expert_gating_func is 4; supported are softmax (1, 3) and sigmoid (2)",
    ),
    "scaling": ({"llama.rope.scaling.type": "ntk"}, "rope scaling 'ntk' is not supported"),
    "base of yarn": (YARN | {"llama.rope.freq_base": 1.0}, "freq_base"),
    "architecture": ({"general.architecture": "../llama"}, "architecture '../llama' is not supported"),
    "no architecture": ({"general.architecture": None}, "no architecture"),
}


def refused(path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening the file fails in one line before a kernel is loaded."""
    monkeypatch.setattr(Graph, "finish", lambda graph: pytest.fail("the model was accepted"))
    with pytest.raises(BadFileError) as refusal:
        Engine.open(path, n_threads=1)
    assert what in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_hyper_parameters_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, what = WRONG[name]
    refused(Tiny(keys=keys).write(tmp_path / "m.gguf"), what, monkeypatch)


@pytest.mark.parametrize("name", sorted(Tiny(tied=False).shapes()))
def test_missing_and_misshapen_tensors_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Tiny(tied=False, keys={"tokenizer.ggml.tokens": ["x"] * 96})
    values = tiny.values()
    rows, *k = values[name].shape
    for wrong in ((rows + 1, *k), (rows, *k, 1), (*k, rows - 1), (rows // 2, *k, 2)):
        refused(tiny.write(tmp_path / "m.gguf", values | {name: np.ones(wrong, np.float32)}), f"'{name}'", monkeypatch)
    del values[name]
    if name != "output.weight":  # without it the embedding is used
        refused(tiny.write(tmp_path / "m.gguf", values), f"'{name}' is missing", monkeypatch)


def test_matrix_that_is_only_stored_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Tiny().write(tmp_path / "m.gguf")
    data = path.read_bytes()
    record = b"blk.0.attn_q.weight" + struct.pack("<IQQI", 2, 64, 64, BY_NAME["F32"].id)
    assert data.count(record) == 1
    path.write_bytes(data.replace(record, record[:-4] + struct.pack("<I", BY_NAME["I32"].id)))
    refused(path, "'blk.0.attn_q.weight'", monkeypatch)


# ---- threads -------------------------------------------------------------------------------------------------------


def team_threads() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith("llmlocal-")}


def cpu_ticks(threads: set[threading.Thread]) -> dict[int | None, list[str]]:
    """CPU time of each thread, in the kernel's ticks (10 ms); empty without /proc."""
    files = {thread.native_id: Path(f"/proc/self/task/{thread.native_id}/stat") for thread in threads}
    return {id: file.read_text().rpartition(")")[2].split()[11:13] for id, file in files.items() if file.exists()}


def test_idle_team_costs_nothing_and_ends_when_closed(plain: Path) -> None:
    before = team_threads()
    engine = Engine.open(plain, n_threads=4)
    engine.prefill(IDS)
    team = team_threads() - before
    ticks = cpu_ticks(team)
    time.sleep(0.2)
    assert cpu_ticks(team) == ticks
    engine.close()
    for thread in team:
        thread.join(5)
    assert len(team) == 3 and not any(t.is_alive() for t in team)


def test_team_of_one_starts_no_thread() -> None:
    before = team_threads()
    ThreadTeam(1).close()
    assert team_threads() == before
