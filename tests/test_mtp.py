"""Blocks that predict further tokens (MTP): what they compute, and what they propose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import CONTEXT, answered
from families import IDS
from families.converted import write_converted
from naive import nmse
from predicting import CASES, NO_NORM, WIDTH, convert_predicting, write_predicting
from test_speculation import GREEDY, prompts

from llmlocal import engine_plan, models
from llmlocal.cli.views.model import sheet
from llmlocal.convert.hf_source import open_hf
from llmlocal.draft.mtp_draft import MtpDraft
from llmlocal.engine import Engine
from llmlocal.errors import UsageError
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import write_gguf
from llmlocal.model_info.describe import describe
from llmlocal.model_info.predictor_memory import can_predict, predictor_memory
from llmlocal.quant.formats.f32 import F32
from llmlocal.quant.tensor import QTensor
from llmlocal.runtime.checkpoints import TAIL

THOROUGH = ("qwen35", "glm4moe")
BOUND, EXACT, EPS = 1e-6, "f32", 1e-6


@pytest.fixture(scope="module", params=[c if c in THOROUGH else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    case = request.param
    return case, convert_predicting(case, tmp_path_factory.mktemp(case))


@pytest.fixture
def engine(model: tuple[str, Path]) -> Iterator[Engine]:
    engine = Engine.open(
        model[1], n_ctx=48, n_threads=2, n_seqs=2, max_outputs=48, kv_type=EXACT, verified=16, predicts=True
    )
    yield engine
    engine.close()


def normed(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    x = x.astype(np.float64)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def reference(path: Path, states: np.ndarray, folder: Path) -> np.ndarray:
    """Logits (tokens - 1, vocab) of the block for IDS: those of a model that has no other.

    Its input is computed here, by the formula of DeepSeek-V3, and becomes the embedding of tokens 0, 1, 2 and so on.
    """
    with open_gguf(path) as gguf:
        held, arch = gguf.tensors, str(gguf.metadata["general.architecture"])
        blocks = gguf.metadata[f"{arch}.block_count"]
        at = f"blk.{blocks - 1}."
        (eps,) = (value for key, value in gguf.metadata.items() if key.endswith("layer_norm_rms_epsilon"))

        def values(name: str, other: str = "") -> np.ndarray:
            return (held[at + name] if at + name in held else held[other]).dequantize().astype(np.float64)

        own_embedding = values("nextn.embed_tokens.weight", "token_embd.weight")
        token = normed(own_embedding[list(IDS[1:])], values("nextn.enorm.weight"), eps)
        before = normed(states[: len(IDS) - 1], values("nextn.hnorm.weight"), eps)
        rows = np.concatenate([token, before], 1) @ values("nextn.eh_proj.weight").T
        embedding = np.zeros_like(own_embedding, np.float32)
        embedding[: len(rows)] = rows
        output = "output.weight" if "output.weight" in held else "token_embd.weight"
        tensors = {
            "token_embd.weight": embedding,
            "output.weight": values("nextn.shared_head_head.weight", output),
            "output_norm.weight": values(last_norm(held, at).removeprefix(at), "output_norm.weight"),
        } | {name: held[name].dequantize() for name in ("rope_freqs.weight",) if name in held}
        tensors |= {
            name.replace(at, "blk.0."): values(name.removeprefix(at))
            for name in held
            if name.startswith(at) and "nextn" not in name and name != last_norm(held, at)
        }
        meta = {**gguf.metadata.raw(), f"{arch}.block_count": 1, f"{arch}.nextn_predict_layers": 0}
        meta[f"{arch}.leading_dense_block_count"] = int(f"{at}ffn_gate_inp.weight" not in held)
        meta |= {
            key: list(value)[-1:]
            for key, value in gguf.metadata.items()
            if not isinstance(value, str | int | float) and len(value) == blocks
        }
        if arch == "nemotron_h_moe":  # has one layer a block
            tensors = apart(tensors)
            meta[f"{arch}.block_count"] = 2
            meta[f"{arch}.attention.head_count_kv"] = [*meta[f"{arch}.attention.head_count_kv"], 0]
            meta[f"{arch}.feed_forward_length"] = [0, *meta[f"{arch}.feed_forward_length"]]
        made = [
            QTensor(name, F32, x.shape, memoryview(np.ascontiguousarray(x, np.float32).tobytes()))
            for name, x in tensors.items()
        ]
        write_gguf(folder / "alone.gguf", meta, made)
    engine = Engine.open(folder / "alone.gguf", n_ctx=48, n_threads=1, max_outputs=48, kv_type=EXACT)
    logits = engine.all_logits(range(len(rows)))
    engine.close()
    return logits


def last_norm(held: Any, at: str) -> str:
    """The name of the last norm of a block."""
    own = (f"{at}{name}.weight" for name in ("nextn.shared_head_norm", "layer_output_norm"))
    return next((name for name in own if name in held), "output_norm.weight")


def apart(tensors: dict[str, Any]) -> dict[str, Any]:
    """A block with attention and experts as two."""
    out = {}
    for name, x in tensors.items():
        new = name.replace("post_attention_norm", "attn_norm") if "post_attention_norm" in name else name
        second = name.startswith("blk.0.") and ("ffn_" in name or "exp_probs" in name or new != name)
        out[new.replace("blk.0.", "blk.1.") if second else new] = x
    return out


def test_which_architectures_predict_is_read_from_their_sources() -> None:
    assert {arch for arch in models.names() if models.predicts(arch)} == {
        arch for arch in models.names() if hasattr(models.find(arch, ""), "predict")
    }


def test_the_block_computes_its_formula(model: tuple[str, Path], engine: Engine, tmp_path: Path) -> None:
    """In one piece, in several, and from what the model made of its tokens in a prompt and one by one."""
    path = model[1]
    assert engine.predictor is not None
    logits = np.concatenate([engine.all_logits(IDS[:20]), *(engine.decode(id)[None] for id in IDS[20:])])
    states = engine.predictor.states[0]
    with open_gguf(path) as gguf:
        out = gguf.tensors.get("output.weight", gguf.tensors["token_embd.weight"]).dequantize()
        last = gguf.tensors["output_norm.weight"].dequantize()
    made = normed(states, last, 1e-5) if model[0] in NO_NORM else states
    assert nmse(made[: len(IDS)] @ out.T, logits) <= BOUND
    want = reference(path, states, tmp_path)
    got = [engine.predictor.predict(IDS[1:n], states[: n - 1], 0)[0] for n in range(2, len(IDS), 5)]
    assert nmse(np.array(got), want[range(0, len(IDS) - 2, 5)]) <= BOUND
    again = [engine.predictor.predict([IDS[i + 1]], states[i : i + 1], i)[0] for i in range(len(IDS) - 1)]
    assert nmse(np.array(again), want) <= BOUND


def test_a_draft_reads_what_is_new_and_goes_on_with_what_it_made(engine: Engine, tmp_path: Path) -> None:
    """The first proposal is that of the pairs of the text; the block's own state takes part in the second."""
    draft, ids, taken = MtpDraft(engine, ()), list(IDS[:30]), list[np.ndarray]()
    assert engine.predictor is not None and 0 < draft.share < 1

    def choose(logits: np.ndarray, proposed: Any) -> int:
        taken.append(logits)
        return int(logits.argmax())

    def proposals(n: int) -> list[tuple[int, float]]:
        taken.clear()
        guesses = draft.continuations([ids], [choose])
        return [guess for (guess,) in (next(guesses) for _ in range(n)) if guess]

    engine.prefill(ids[:-1])
    assert draft.unread(ids) == 29 and draft.read(ids, 10) == 10 and draft.unread(ids) == 19
    first, _ = proposals(2)
    assert draft.unread(ids) == 1 and 0 < first[1] <= 1
    states = engine.predictor.states[0]
    logits, state = engine.predictor.predict(ids[1:], states[:29], 0)
    assert nmse(taken[0], logits) <= 1e-9 and first[0] == logits.argmax()
    assert nmse(taken[1], engine.predictor.predict([first[0]], state[None], 29)[0]) <= 1e-9
    engine.prefill(ids[-1:])
    ids += [7]
    assert draft.unread(ids) == 1
    kept = proposals(1)
    engine.truncate(20)
    ids[20:] = [9]
    assert draft.unread(ids) == 1 and proposals(1) != kept
    engine.adopt(())
    engine.prefill(ids[:-1], 1)
    assert draft.unread(ids) == 20 and len(proposals(3)) == 3  # each sequence has pairs of its own
    assert draft.unread([3, 4]) > 1 and not list(draft.continuations([[3, 4]], [choose]))


def test_what_was_not_read_here_has_no_pairs(engine: Engine) -> None:
    """After a text was taken over, the sequence of the block begins behind it; a copied one keeps its states."""
    ids, predictor, at = list(IDS[:36]), engine.predictor, 30 - TAIL
    assert predictor is not None
    engine.reuse(ids[:30])
    engine.prefill(ids[:30])
    engine.copy_prefix(ids, 0, 1)
    kept = engine.length(1)
    assert predictor.first == [0, 0] and kept and np.array_equal(predictor.states[1, :kept], predictor.states[0, :kept])
    engine.adopt(ids[:at], 0, {at: np.concatenate(engine.states(0)[at])} if engine.state_bytes else {})
    engine.prefill(ids[at:-1])
    draft = MtpDraft(engine, ())
    assert predictor.first[0] == at and draft.unread(ids) == len(ids) - 1 - at
    assert len(list(zip(draft.continuations([ids], [lambda logits, _: 5]), range(4), strict=False))) == 4
    engine.truncate(3)
    engine.decode(7)
    assert predictor.first[0] <= 3


# ---- texts ---------------------------------------------------------------------------------------------------------


def check(path: Path, n: int, seeds: int, threads: int, **how: Any) -> None:
    """Answers with and without proposals are the same."""
    params = [GREEDY, *(SamplingParams(temperature=0.2 + 0.3 * seed, seed=seed) for seed in range(seeds))]
    proposed = 0
    with (
        Session.open(path, n_ctx=CONTEXT, n_threads=1, **how) as plain,
        Session.open(path, n_ctx=CONTEXT, n_threads=threads, speculate="mtp", **how) as other,
    ):
        for prompt in prompts(n):
            for param in params:
                some = [3 + id % 37 for id in prompt]
                (wanted, _), (got, told) = answered(plain, some, param), answered(other, some, param)
                assert got == wanted
                assert told.speculation.draft_name == "MTP" and not told.speculation.ngram.proposed
                proposed += told.speculation.draft.proposed
    assert proposed


def test_the_text_is_that_of_plain_decoding(model: tuple[str, Path]) -> None:
    check(model[1], n=2, seeds=1, threads=2)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_the_text_of_many_prompts(model: tuple[str, Path], threads: int, kv_type: str) -> None:
    check(model[1], n=50, seeds=5, threads=threads, kv_type=kv_type)


def test_auto_uses_the_block_where_it_pays(model: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """And runs without it where its memory is not free, or where a draft is named."""
    with Session.open(model[1], n_ctx=64, n_threads=1, speculate="auto") as session:
        assert session.engine.predictor and session.speculation.report.draft_name == "MTP"
        needed = session.engine.predictor.states.nbytes
        assert predictor_memory(session.gguf.metadata, 64, "f16", 1) > needed == 4 * 64 * WIDTH
    with Session.open(model[1], n_ctx=64, n_threads=1) as session:
        assert session.engine.predictor is None
    monkeypatch.setattr(engine_plan, "predictor_memory", lambda *_: 1 << 60)
    with Session.open(model[1], n_ctx=64, n_threads=1, speculate="mtp") as session:
        _, end = answered(session, [5, 6, 7] * 5, GREEDY)
        assert "memory for the block" in end.speculation.resting and not end.speculation.proposed


# ---- files ---------------------------------------------------------------------------------------------------------


def test_the_block_is_converted_and_shown(model: tuple[str, Path], tmp_path: Path) -> None:
    case, path = model
    with open_gguf(path) as gguf:
        assert can_predict(gguf.metadata, gguf.tensors)
        assert dict(sheet(describe(gguf), path))["note"] == (
            "1 of the layers predict further tokens (MTP), for speculation alone"
        )
    write_predicting(case, tmp_path, whole=False)
    with open_hf(tmp_path) as source:
        assert "the block that predicts further tokens (MTP) is left out" in source.notes
        assert not any("nextn" in name for name in source.held)


def test_a_file_without_the_block_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    path = write_converted("qwen35", tmp_path)
    with pytest.raises(UsageError, match="no block that predicts further tokens"):
        Session.open(path, speculate="mtp")
    with Session.open(path, n_ctx=64, n_threads=1, speculate="auto") as session:
        assert session.engine.predictor is None
