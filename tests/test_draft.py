"""A draft: a smaller model proposes tokens, the text is that of plain decoding, and what does not pay rests."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
from answers import ANSWER, CONTEXT, answered
from gguf import GGUFReader, GGUFValueType, GGUFWriter

from llmlocal import guide, load
from llmlocal.chat_format.prompt import Prompt, PromptRequest
from llmlocal.draft.choice import smallest_draft
from llmlocal.draft.draft_model import DraftModel
from llmlocal.draft.vocabulary import difference
from llmlocal.errors import BadFileError, NotFoundError, ResourceError, UsageError
from llmlocal.generation.events import PromptProgress, Token
from llmlocal.generation.sampler import Sampler
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.gguf import open_gguf
from llmlocal.model_info.memory_limit import check_memory
from llmlocal.scheduler.request import Request
from llmlocal.serving.model_pool import ModelPool
from llmlocal.serving.settings import Settings
from llmlocal.serving.text_model import TextModel
from llmlocal.speculation.draft import NEAR

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
GREEDY, WARM = SamplingParams(temperature=0), SamplingParams(temperature=1.0, seed=4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    make_model.make_model("tiny-llama-256", path := tmp_path_factory.mktemp("draft") / "m.gguf", form="Q4_K")
    return path


@pytest.fixture(scope="module")
def small(tiny: Path) -> Path:
    """A model of other random weights, with the same vocabulary."""
    make_model.make_model("tiny-llama", path := tiny.with_name("small.gguf"), form="Q8_0")
    return path


def prompts(n: int) -> list[list[int]]:
    rng = np.random.default_rng(7)
    return [rng.integers(3, 400, int(rng.integers(2, 300 if i % 3 == 2 else 60))).tolist() for i in range(n)]


def check_texts(
    target: Path, draft: Path, some: Sequence[Sequence[int]], params: Sequence[SamplingParams], threads: int = 2
) -> tuple[int, int]:
    """Answers with and without the draft are the same; returns how many of its tokens were proposed and accepted."""
    proposed = accepted = 0
    how: dict[str, Any] = {"n_ctx": CONTEXT, "weights": "copy"}
    with (
        Session.open(target, n_threads=1, **how) as plain,
        Session.open(target, n_threads=threads, speculate="draft", draft=draft, **how) as other,
    ):
        for ids in some:
            for param in params:
                (wanted, end), (got, told) = answered(plain, ids, param), answered(other, ids, param)
                assert got == wanted and told.reason == end.reason
                part = told.speculation.draft
                assert told.speculation.ngram.proposed == 0 and told.speculation.draft_name == draft.stem
                proposed, accepted = proposed + part.proposed, accepted + part.accepted
    return proposed, accepted


def test_a_draft_that_is_the_model_itself_is_always_right(tiny: Path) -> None:
    """With a temperature, too: draws have the same random numbers."""
    proposed, accepted = check_texts(tiny, tiny, prompts(3), [GREEDY, WARM])
    assert proposed == accepted > 3 * ANSWER


def test_a_draft_of_random_weights_changes_no_text(tiny: Path, small: Path) -> None:
    proposed, accepted = check_texts(tiny, small, prompts(3), [GREEDY, WARM])
    assert accepted < proposed / 4


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_the_text_of_many_prompts(tiny: Path, small: Path, threads: int) -> None:
    """200 prompts, a quarter of them for each number of threads, greedy and with five seeds, and two drafts."""
    seeds = [SamplingParams(temperature=0.2 + 0.3 * seed, seed=seed) for seed in range(5)]
    some = prompts(200)[threads - 1 :: 4]
    proposed, accepted = check_texts(tiny, tiny, some, [GREEDY, *seeds], threads)
    assert proposed >= accepted > 0.99 * proposed  # the draft reads a prompt in other pieces, which rounds otherwise
    check_texts(tiny, small, some, [GREEDY, *seeds], threads)


def test_a_trained_draft() -> None:
    """The guide, whose distributions are sharp, as its own draft beside plain decoding of questions."""
    path = guide.path()
    with Session.open(path, n_threads=1) as plain, Session.open(path, speculate="draft", draft=path) as other:
        for text in (b"How do I chat with a model?", b"What is a KV cache?"):
            ids = plain.prompt(PromptRequest(text)).ids
            (wanted, _), (got, end) = answered(plain, ids, WARM), answered(other, ids, WARM)
            assert got == wanted and end.speculation.draft.accepted == end.speculation.draft.proposed > 0


def test_forms_stops_and_mirostat_are_those_of_plain_decoding(tiny: Path) -> None:
    cases: list[tuple[SamplingParams, dict[str, Any]]] = [
        (GREEDY, {"logprobs": 2}),
        (WARM, {"stop": ["e"]}),
        (SamplingParams(seed=2, mirostat=2, repeat_penalty=1.1), {}),
        (SamplingParams(seed=3, temperature=0, logit_bias={2: -np.inf}), {}),
    ]
    with (
        Session.open(tiny, n_ctx=CONTEXT, n_threads=2, weights="copy") as plain,
        Session.open(tiny, n_ctx=CONTEXT, n_threads=2, weights="copy", speculate="draft", draft=tiny) as other,
    ):
        for params, more in cases:
            for ids in prompts(2):
                assert answered(other, ids, params, **more)[0] == answered(plain, ids, params, **more)[0], more


def test_the_draft_follows_the_text(tiny: Path) -> None:
    """What is asked for next shares a beginning with what was continued last, or nothing; the cache is that of both."""

    def best(logits: Any, _: Sequence[int]) -> int:
        return int(logits.argmax())

    def said(draft: DraftModel, ids: list[int], n: int) -> list[int]:
        guesses = zip(range(n), draft.continuations([ids], [best]), strict=False)
        return [guess[0] for _, (guess,) in guesses if guess]

    def opened() -> DraftModel:
        draft = DraftModel.open(tiny, session.gguf, ())
        draft.record(session.engine, "map", "f16", 1 << 40).load()
        return draft

    with Session.open(tiny, n_ctx=CONTEXT, n_threads=1) as session:
        draft, ids = opened(), prompts(3)[2]
        assert draft.unread(ids) == len(ids)
        assert draft.read(ids, NEAR) == NEAR and draft.unread(ids) == len(ids) - NEAR
        guesses = said(draft, ids, 5)
        assert draft.unread([*ids, *guesses]) == 1 and draft.unread([*ids, *guesses[:2], 9]) == 1
        assert draft.unread([*ids[:30], 1, 2]) == 2 and draft.unread([7]) == 1
        for text in ([*ids, *guesses[:2], 9], [*ids[:30], 1, 2], [7, 8], [*ids[:9]]):
            fresh = opened()
            assert said(draft, text, 4) == said(fresh, text, 4)
            fresh.close()
        full = (ids * 9)[: CONTEXT - 1]
        assert len(said(draft, full, 9)) == 2 and draft.read([3], 5) == 0
        draft.close()


def rewritten(source: Path, target: Path, change: Callable[[str, Any], Any]) -> Path:
    """A copy of a file's metadata, with values changed, and of its tensors."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        more = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, change(name, field.contents()), kind, sub_type=more)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def test_files_that_cannot_be_drafts(tiny: Path, tmp_path: Path) -> None:
    def opening(draft: Path | str, kind: type[Exception], match: str, target: Path = tiny, **how: Any) -> None:
        with pytest.raises(kind, match=match):
            Session.open(target, draft=draft, **{"speculate": "auto", **how}).close()

    opening(tmp_path / "none.gguf", NotFoundError, "none.gguf")
    (bad := tmp_path / "bad.gguf").write_bytes(tiny.read_bytes()[:5000])
    opening(bad, BadFileError, "bad.gguf")
    opening(guide.path(), UsageError, "cannot be a draft of m.gguf: the tokens differ|kind of tokenizer differs")

    def other_end(name: str, value: Any) -> Any:
        return 5 if name == "tokenizer.ggml.eos_token_id" else value

    opening(rewritten(tiny, tmp_path / "end.gguf", other_end), UsageError, "eos_token_id differs")
    with pytest.raises(UsageError, match="there is no draft"):
        Session.open(tiny, speculate="draft")
    with pytest.raises(NotFoundError, match="no draft"):
        Session.open(shutil.copy(tiny, tmp_path / "alone.gguf"), speculate="draft", draft="auto")


def test_recurrent_models_and_encoders(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmlocal.draft import draft_model

    monkeypatch.setattr(draft_model, "state_memory", lambda _: 1)
    with pytest.raises(UsageError, match="is recurrent"):
        Session.open(tiny, speculate="auto", draft=tiny)
    monkeypatch.undo()
    monkeypatch.setattr(draft_model.models, "kind", lambda _: "encoder")
    with pytest.raises(UsageError, match="has an encoder"):
        Session.open(tiny, speculate="auto", draft=tiny)


def test_vocabularies() -> None:
    def of(tokens: list[str], **more: Any) -> dict[str, Any]:
        keys = {"model": "gpt2", "tokens": tokens, "token_type": [1] * len(tokens), "merges": ["a b"], **more}
        return {f"tokenizer.ggml.{name}": value for name, value in keys.items()}

    same = of(["a", "b"])
    assert difference(same, of(["a", "b"])) == ""
    assert difference(same, of(["a", "b"], bos_token_id=1)) == ""
    assert "bos" in difference(of(["a", "b"], bos_token_id=0), of(["a", "b"], bos_token_id=1))
    assert "tokens" in difference(same, of(["a", "c"])) and "tokens" in difference(same, of(["a", "b", "c"]))
    padded = of(["a", "b", "[PAD2]"], token_type=[1, 1, 5])
    assert difference(same, padded) == difference(padded, same) == ""
    assert "tokens" in difference(of(["a", "c"]), padded)
    assert "merges" in difference(same, of(["a", "b"], merges=["b a"]))
    assert "kind" in difference(same, of(["a", "b"], model="llama"))
    assert "missing" in difference(same, {}) and "missing" in difference({"tokenizer.ggml.tokens": "ab"}, same)


def test_auto_takes_the_smallest_that_is_much_smaller(tiny: Path, small: Path, tmp_path: Path) -> None:
    target = Path(shutil.copy(tiny, tmp_path / "target.gguf"))
    shutil.copy(tiny, tmp_path / "same-size.gguf")
    shutil.copy(guide.path(), tmp_path / "another-vocabulary.gguf")
    (tmp_path / "damaged.gguf").write_bytes(b"GGUF" + bytes(20))
    with open_gguf(target) as gguf:
        assert smallest_draft(gguf) is None
        shutil.copy(small, draft := tmp_path / "draft.gguf")
        assert smallest_draft(gguf) == draft
    with Session.open(target, speculate="auto", draft="auto") as session:
        assert session.draft is not None and session.draft.name == "draft" and not session.notes
        assert 0 < session.draft.share < 0.22
    draft.unlink()
    with Session.open(target, speculate="auto", draft="auto") as session:
        assert session.draft is None and session.notes[0].startswith("no draft")


def test_memory_counts_the_draft(tiny: Path) -> None:
    with Session.open(tiny, n_ctx=64, speculate="auto", draft=tiny) as session:
        data, tensors = session.gguf.metadata, session.gguf.tensors
        assert session.draft_memory > sum(tensor.nbytes for tensor in tensors.values())
        check_memory(data, tensors, 64, free=1 << 31)
        with pytest.raises(ResourceError, match="beside the draft") as told:
            check_memory(data, tensors, 64, free=1 << 31, draft=(1 << 31) - 1)
        assert "--draft" in told.value.hint


def test_the_python_api_takes_a_draft(tiny: Path) -> None:
    with load(tiny, ctx=128, threads=1, draft=tiny, speculate="draft") as model, load(tiny, ctx=128) as plain:
        answer = model.generate("ab", raw=True, max_tokens=12, temperature=0)
        assert answer.text == plain.generate("ab", raw=True, max_tokens=12, temperature=0).text
    with pytest.raises(NotFoundError):
        load(tiny, draft="no-such-model-anywhere.gguf")


def test_the_command_line(said: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("run", tiny, "ab", "--raw", "--temp", "0", "-n", "12", "--ctx", "128", "-t", "1", "--weights", "copy")
    code, text, _ = said(*asked, "--speculate", "off")
    assert code == 0
    code, out, err = said(*asked, "--draft", tiny, "--speculate", "draft", "-v")
    assert (code, out) == (0, text) and re.search(r"[1-9]\d* of \d+ from the draft m ", err)
    code, out, _ = said(*asked, "--draft", tiny, "--speculate", "draft", "--json")
    told = json.loads(out)["timings"]["speculation"]
    assert (
        told["draft"]["model"] == "m" and told["proposed"] == told["draft"]["proposed"] > 0 == told["ngram"]["proposed"]
    )
    shutil.copy(tiny, alone := tmp_path / "alone.gguf")
    code, out, err = said("run", alone, *asked[2:], "--draft", "auto")
    assert (code, out) == (0, text) and "no draft: " in err and err.count("\n") == 1
    for arguments, status, words in (
        (("--draft", "nothing.gguf"), 3, "nothing.gguf"),
        (("--draft", guide.path()), 2, "cannot be a draft"),
        (("--speculate", "draft"), 2, "there is no draft"),
        (("--speculate", "mtp"), 2, "no block that predicts further tokens"),
        (("--speculate", "draft", "--draft", "auto"), 3, "no draft"),
    ):
        code, out, err = said("run", alone, *asked[2:], *arguments)
        assert (code, out) == (status, "") and words in err and err.count("\n") <= 2


def test_a_server_counts_what_the_draft_does(tiny: Path) -> None:
    """While a single answer is at work; several models cannot share a draft."""
    with Session.open(tiny, n_ctx=128, n_threads=1, weights="copy") as session:
        wanted = answered(session, [5, 6, 7], WARM)[0]
    settings = Settings(128, 1, 2, weights="copy", speculate="draft", draft=tiny)
    model = TextModel("m", tiny, settings)
    for prompt in ([5, 6, 7], [9, 9], [5, 6, 7]):
        got: Queue[Any] = Queue()
        model.scheduler.submit(Request(Prompt("", prompt, True), Sampler(WARM), ANSWER), got.put)
        events: list[Any] = []
        while not events or isinstance(events[-1], Token | PromptProgress):
            events.append(got.get(timeout=60))
        assert prompt == [9, 9] or [event for event in events if isinstance(event, Token)] == wanted
    values = model.values()
    model.close()
    assert values["draft_accepted_tokens_total"] > ANSWER and values["ngram_saved_seconds"] == 0
    assert values["draft_proposed_tokens_total"] == values["proposed_tokens_total"]
    with pytest.raises(UsageError, match="one draft"):
        ModelPool({"a": tiny, "b": tiny}, settings)
