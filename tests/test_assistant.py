"""Assistants of Gemma 4: what they compute, what they propose, and the files that are none for a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from answers import CONTEXT, answered
from assisted import CASES, CENTROIDS, CLUSTERED, LENGTHS, STEPS, add_order, assistant_golden, assistant_settings
from families import IDS, VOCAB, write_weights
from families.converted import BOUND, EXACT, write_converted, write_tokenizer
from filled_store import Said
from naive import nmse
from predicting import convert_predicting
from test_slots import asked, texts
from test_speculation import GREEDY, prompts

from llmlocal.convert.hf_source import open_hf
from llmlocal.draft.mtp_draft import MtpDraft
from llmlocal.engine import Engine
from llmlocal.errors import BadFileError, UsageError
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import write_gguf
from llmlocal.predictor import Pairs
from llmlocal.quantize.convert import convert_model
from llmlocal.serving.model_pool import ModelPool
from llmlocal.serving.settings import Settings


def write_assistant(case: str, folder: Path, *, clusters: bool = False, without: str = "") -> None:
    """The folder of the assistant of a model, with a head by `clusters` of tokens; one tensor may be missing."""
    (folder / "config.json").write_text(json.dumps(assistant_settings(case, clusters=clusters)))
    shapes = {name: shape for name, shape in assistant_golden(case)[0].items() if name != without}
    if clusters:
        shapes |= {CENTROIDS: (8, 24)}
    write_weights(folder, f"{case}-assistant", shapes)
    if clusters:
        add_order(folder / "model.safetensors")
    write_tokenizer(folder)


def changed(path: Path, folder: Path, *, without: str = "", **keys: Any) -> Path:
    """A copy of an assistant with other keys, and without one of its tensors."""
    with open_gguf(path) as gguf:
        full = {key if key.startswith("tokenizer.") else f"gemma4-assistant.{key}": x for key, x in keys.items()}
        tensors = [tensor for tensor in gguf.tensors.values() if tensor.name != without]
        out = folder / f"{without}{'-'.join(keys)}.gguf"
        write_gguf(out, gguf.metadata.raw() | full, tensors)
    return out


def convert_assisted(case: str, folder: Path) -> tuple[Path, Path]:
    """A model and its assistant, converted."""
    model, assistant = folder / "model", folder / "assistant"
    for each in (model, assistant):
        each.mkdir()
    write_assistant(case, assistant)
    return write_converted(case, model), convert_model(assistant, folder / "assistant.gguf", "F32").path


@pytest.fixture(scope="module", params=CASES)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    return request.param, *convert_assisted(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def engine(files: tuple[str, Path, Path]) -> Iterator[Engine]:
    with open_gguf(files[2]) as assistant:
        engine = Engine.open(
            files[1], n_ctx=48, n_threads=2, n_seqs=2, max_outputs=4, kv_type=EXACT, assistant=assistant
        )
        yield engine
        engine.close()


def test_logits_and_states_are_those_of_transformers(files: tuple[str, Path, Path], engine: Engine) -> None:
    """Each sequence continues a text of its own, in one run."""
    predictor, (_, logits, states) = engine.predictor, assistant_golden(files[0])
    assert predictor is not None
    for text, length in enumerate(LENGTHS):
        engine.adopt((), 0)
        engine.prefill(IDS[: length - 1])
        state, id = predictor.states[0, length - 2], IDS[length - 1]
        for step in range(STEPS):
            got, state = predictor.predict([id], state[None], length - 2)
            id = int(got.argmax())
            assert nmse(got, logits[text, step]) <= BOUND and nmse(state, states[text, step]) <= BOUND
            assert id == logits[text, step].argmax()


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model, and its assistant with clusters of tokens."""
    folder = tmp_path_factory.mktemp("clusters")
    model, _ = convert_assisted(CLUSTERED, folder)
    (folder / "clustered").mkdir()
    write_assistant(CLUSTERED, folder / "clustered", clusters=True)
    return model, convert_model(folder / "clustered", folder / "clustered.gguf", "F32").path


@pytest.mark.parametrize("copied", [False, True])
def test_logits_of_clusters_are_those_of_transformers(clustered: tuple[Path, Path], copied: bool) -> None:
    """Of tokens in other clusters, too; several sequences at once."""
    _, logits, states = assistant_golden(f"{CLUSTERED}-clusters")
    how: dict[str, Any] = {"n_ctx": 48, "n_threads": 2, "n_seqs": len(LENGTHS), "kv_type": EXACT}
    with open_gguf(clustered[1]) as assistant:
        engine = Engine.open(clustered[0], assistant=assistant, copy_weights=copied, **how)
        predictor = engine.predictor
        assert predictor is not None
        for seq, length in enumerate(LENGTHS):
            engine.prefill(IDS[: length - 1], seq)
        before = [predictor.states[seq, length - 2] for seq, length in enumerate(LENGTHS)]
        ids = [IDS[length - 1] for length in LENGTHS]
        for step in range(STEPS):
            parts = [Pairs(seq, [ids[seq]], before[seq][None], length - 2) for seq, length in enumerate(LENGTHS)]
            made = predictor.predict_each(parts)
            for seq, (got, state) in enumerate(made):
                assert nmse(got, logits[seq, step]) <= BOUND and nmse(state, states[seq, step]) <= BOUND
            ids, before = [int(got.argmax()) for got, _ in made], [state for _, state in made]
        engine.close()


def test_clusters_that_do_not_hold_each_token_once(clustered: tuple[Path, Path]) -> None:
    with open_gguf(clustered[0]) as model, open_gguf(clustered[1]) as gguf:
        for name, values, words in (
            ("masked_embd_ordering", np.zeros(VOCAB, "<f4"), "each of 40 tokens once"),
            ("", None, ""),
        ):
            tensors = dict(gguf.tensors)
            if values is not None:
                tensors[name] = replace(tensors[name], data=memoryview(values.tobytes()))
            else:
                del tensors["masked_embd_ordering"]
            odd: Any = SimpleNamespace(path=gguf.path, metadata=gguf.metadata, tensors=tensors)
            with pytest.raises(BadFileError, match=words or "'masked_embd_ordering' is missing"):
                Engine.open(model, n_ctx=16, n_threads=1, assistant=odd, load=False).close()


def test_each_sequence_is_continued_in_one_run(files: tuple[str, Path, Path], engine: Engine) -> None:
    """A draft needs to read nothing before, and takes back nothing: also not after the model has gone back."""
    with open_gguf(files[2]) as assistant:
        draft, (_, logits, _) = MtpDraft(engine, (), assistant), assistant_golden(files[0])
    texts = [IDS[: LENGTHS[1]], IDS[: LENGTHS[2]]]
    for seq, ids in enumerate(texts):
        engine.prefill(ids[:-1], seq)
    greedy = lambda logits, proposed: int(logits.argmax())  # noqa: E731
    wanted = logits[1:].argmax(-1).T.tolist()
    assert draft.name == "assistant" and 0 < draft.share < 1 and draft.unread(texts[0]) == 1
    for _ in range(2):
        made = list(zip(draft.continuations(texts, [greedy] * 2), range(STEPS), strict=False))
        assert [[guess and guess[0] for guess in some] for some, _ in made] == wanted
        assert all(0 < guess[1] <= 1 for some, _ in made for guess in some if guess)
        engine.verify([texts[0][-1], wanted[0][0], 5], 0)
        engine.truncate(len(texts[0]) - 1, 0)
    assert not draft.read(texts[0], 9) and not list(draft.continuations([[3, 4]], [greedy]))


def test_a_shared_prefix_is_attended_to(files: tuple[str, Path, Path]) -> None:
    """The first tokens of a sequence may lie in the cells of another one."""
    ids, made = (IDS * 4)[:140], []
    with open_gguf(files[2]) as assistant:
        engine = Engine.open(files[1], n_ctx=160, n_threads=1, n_seqs=2, kv_type=EXACT, assistant=assistant)
        engine.prefill(ids)
        for shared in (False, True):
            engine.adopt((), 1)
            kept = engine.copy_prefix(ids, 0, 1) if shared else 0
            assert bool(kept) == shared
            engine.prefill(ids[kept:], 1)
            assert engine.predictor is not None
            last = len(ids) - 1
            made.append(engine.predictor.predict([7], engine.predictor.states[1, None, last], last, 1)[0])
        engine.close()
    assert nmse(made[1], made[0]) <= BOUND


# ---- texts ---------------------------------------------------------------------------------------------------------


def test_the_text_is_that_of_plain_decoding(files: tuple[str, Path, Path]) -> None:
    _, path, assistant = files
    params = [GREEDY, SamplingParams(temperature=0.8, seed=3)]
    for speculate in ("mtp", "draft", "auto"):
        how: dict[str, Any] = {"n_ctx": CONTEXT, "weights": "map"}
        with (
            Session.open(path, n_threads=1, **how) as plain,
            Session.open(path, n_threads=2, speculate=speculate, draft=assistant, **how) as other,
        ):
            told = [answered(other, [3 + id % 37 for id in ids], each) for ids in prompts(1) for each in params]
            wanted = [answered(plain, [3 + id % 37 for id in ids], each) for ids in prompts(1) for each in params]
        assert [made for made, _ in told] == [made for made, _ in wanted]
        reports = [end.speculation for _, end in told]
        assert all(report.draft_name == "assistant" for report in reports)
        assert speculate == "auto" or any(report.draft.proposed for report in reports)


def test_several_answers_at_once(files: tuple[str, Path, Path]) -> None:
    _, path, assistant = files
    alone, _ = texts(path, asked(2, 1, fold=37), 1, weights="map")
    together, counts = texts(path, asked(2, 1, fold=37), 2, weights="map", speculate="mtp", draft=assistant)
    assert together == alone and counts.proposed_tokens > 0


# ---- files ---------------------------------------------------------------------------------------------------------


def test_memory_counts_the_assistant(files: tuple[str, Path, Path]) -> None:
    with Session.open(files[1], n_ctx=64, weights="copy", speculate="auto", draft=files[2]) as session:
        assert session.assistant and session.engine.predictor and session.draft is None
        weights = sum(tensor.nbytes for tensor in session.assistant.tensors.values())
        assert session.draft_memory == weights + session.engine.predictor.states.nbytes
    with Session.open(files[1], n_ctx=64, speculate="ngram", draft=files[2]) as session:
        assert not session.assistant and session.engine.predictor is None and not session.draft_memory


def test_auto_finds_it(files: tuple[str, Path, Path], tmp_path: Path) -> None:
    path, assistant = Path(shutil.copy(files[1], tmp_path / "m.gguf")), tmp_path / "small.gguf"
    for speculate in ("auto", "mtp"):
        shutil.copy(files[2], assistant)
        with Session.open(path, n_ctx=64, speculate=speculate, draft="auto") as session:
            assert session.assistant is not None and session.assistant.path == assistant and not session.notes
        assistant.unlink()
    with pytest.raises(UsageError, match="no block that predicts"):
        Session.open(path, speculate="mtp", draft="auto")


def test_others_are_refused(files: tuple[str, Path, Path], tmp_path: Path, said: Said) -> None:
    _, path, assistant = files
    tokens = open_gguf(assistant).metadata["tokenizer.ggml.tokens"]
    wrong = {
        "cannot be an assistant of": (convert_predicting("glm4moe", tmp_path), assistant),
        "assists a model of width 48": (path, changed(assistant, tmp_path, embedding_length_out=48)),
        "the tokens differ": (path, changed(assistant, tmp_path, **{"tokenizer.ggml.tokens": [*tokens][::-1]})),
        "is the assistant of another model": (path, changed(assistant, tmp_path, **{"attention.sliding_window": 9})),
        "is an assistant": (assistant, path),
        "nextn.pre_projection.weight": (path, changed(assistant, tmp_path, without="nextn.pre_projection.weight")),
    }
    for words, (model, draft) in wrong.items():
        code, out, err = said("run", model, "!!", "--raw", "-n", "2", "--draft", draft)
        assert (code, out) == (5 if "tensor" in err else 2, "") and words in err and err.count("\n") <= 2, err


def test_a_server_leaves_it_out(files: tuple[str, Path, Path], said: Said) -> None:
    """Beside a model it is told of and not offered; alone there is nothing to serve."""
    _, path, assistant = files
    told = "a: is an assistant of another model, not served by itself"
    pool = ModelPool({"a": assistant, "m": path}, Settings())
    assert [entry.name for entry in pool.entries] == ["m"]
    assert pool.left_out == [f"{told}; --draft auto finds it for its model"]
    assert ModelPool({"a": assistant, "m": path}, Settings(draft="auto")).left_out == [told]
    code, out, err = said("serve", assistant, "--port", "0")
    assert (code, out) == (2, "") and "assistant: is an assistant" in err and "give it to --draft" in err


def test_every_tensor_is_needed(files: tuple[str, Path, Path]) -> None:
    _, path, assistant = files
    with open_gguf(path) as model, open_gguf(assistant) as gguf:
        for name in gguf.tensors:
            tensors = {key: tensor for key, tensor in gguf.tensors.items() if key != name}
            odd: Any = SimpleNamespace(path=gguf.path, metadata=gguf.metadata, tensors=tensors)
            optional = name == "rope_freqs.weight" or name.endswith("layer_output_scale.weight")
            with nullcontext() if optional else pytest.raises(BadFileError, match=f"'{name}' is missing"):
                Engine.open(model, n_ctx=16, n_threads=1, assistant=odd, load=False).close()


def test_it_is_converted_and_shown(files: tuple[str, Path, Path], tmp_path: Path, said: Said) -> None:
    case, _, assistant = files
    code, out, _ = said("show", assistant)
    assert code == 0 and "an assistant: it proposes tokens for a model of width 32, given with --draft" in out
    assert json.loads(said("show", assistant, "--json")[1])["assists"] == 32
    code, out, err = said("run", assistant, "hi")
    assert (code, out) == (2, "") and "give it to --draft" in err
    (tmp_path / "clusters").mkdir()
    write_assistant(case, tmp_path / "clusters", clusters=True)
    with open_hf(tmp_path / "clusters") as source, open_gguf(assistant) as gguf:
        clusters = {"masked_embd_centroids.weight", "masked_embd_ordering"}
        assert {tensor.name for tensor in source.tensors} == gguf.tensors.keys() | clusters
        assert source.metadata["gemma4-assistant.masked_embd_used_count"] == 2
        assert source.metadata["gemma4-assistant.nextn_predict_layers"] == 3
    (tmp_path / "part").mkdir()
    write_assistant(case, tmp_path / "part", without="post_projection.weight")
    with pytest.raises(BadFileError, match=r"nextn\.post_projection\.weight' is missing"), open_hf(tmp_path / "part"):
        pass
