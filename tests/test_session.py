"""Text in, events out: on a scripted engine, and on a trained model whose text is known."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import EOS, WORDS, session, word
from vocabularies import N_FIXED

from llmlocal.errors import NotFoundError, PromptTooLongError, UsageError
from llmlocal.generation.events import Finished, PromptProgress, Token
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.generation.stop_strings import StopFilter

GREEDY = SamplingParams(temperature=0)
FORMATS = {"f32": None, "f16": None, "Q8_0": 100, "Q4_0": 100}  # how much of the known text must be exact


def told(
    s: Session, prompt: str | bytes, max_tokens: int | None = None, stop: tuple[str, ...] = ()
) -> tuple[list[bytes], Finished]:
    *tokens, end = s.complete(prompt, max_tokens=max_tokens, sampling=GREEDY, stop=stop)
    assert isinstance(end, Finished)
    assert all(isinstance(token, Token) for token in tokens)
    return [token.data for token in tokens if isinstance(token, Token)], end


def test_events_until_the_end_token() -> None:
    s, engine = session([word("▁a"), word("▁b"), EOS])
    data, end = told(s, "d")
    assert data == [b" a", b" b", b""]
    assert (end.reason, end.prompt_tokens, end.reused_tokens, end.generated_tokens) == ("stop", 3, 0, 3)
    assert engine.calls == [("prefill", 3), ("decode", 1), ("decode", 1)]  # the end token is not run


def test_limit_of_tokens() -> None:
    s, engine = session([word("d")])
    assert told(s, "d", 3)[0] == [b"d"] * 3
    data, end = told(s, "d", 0)
    assert (data, end.reason, end.generated_tokens, end.decode_speed) == ([], "length", 0, 0)
    assert len(engine.tokens) == end.prompt_tokens


def test_full_context_ends_the_answer() -> None:
    s, engine = session([word("d")], n_ctx=5)
    data, end = told(s, "e")
    assert (len(data), end.reason) == (3, "context")  # the last token is said, and never read
    assert engine.length() == 5


def test_prompt_too_long_says_by_how_much_and_what_fits() -> None:
    s, engine = session(n_ctx=8)
    with pytest.raises(PromptTooLongError, match="12 tokens, 4 more than the context of 8") as caught:
        s.complete("d" * 10, max_tokens=20)
    assert caught.value.hint.startswith("use --ctx 32, which takes ")
    assert not engine.calls
    with pytest.raises(PromptTooLongError) as caught:
        s.complete("d" * 10)
    assert "trained on 128" in caught.value.hint


def test_empty_prompt_needs_a_bos() -> None:
    s, _ = session([word("▁a"), EOS])
    assert told(s, "")[0] == [b"a", b""]  # a text begins: no space before it
    bare, _ = session(add_bos_token=False)
    with pytest.raises(UsageError, match="prompt is empty"):
        bare.complete("")


def test_bad_limits_are_refused_at_once() -> None:
    s, _ = session()
    with pytest.raises(UsageError, match="max_tokens is -1"):
        s.complete("d", max_tokens=-1)
    with pytest.raises(UsageError, match="stop string is empty"):
        s.complete("d", stop=[""])


def test_user_text_never_becomes_a_special_token() -> None:
    s, engine = session([EOS])
    told(s, "</s><s>")
    assert engine.tokens[0] == 1
    assert not {1, EOS} & set(engine.tokens[1:])


@pytest.mark.parametrize("prompt", [b"d\xff", "d\udcff"])
def test_bytes_that_are_not_utf8_are_kept(prompt: str | bytes) -> None:
    s, engine = session([EOS])
    told(s, prompt)
    assert engine.tokens[-1] == 3 + 0xFF


def test_prefix_of_an_earlier_prompt_is_not_read_again() -> None:
    s, engine = session([EOS])
    told(s, "dede")
    _, end = told(s, "deded")
    assert (end.prompt_tokens, end.reused_tokens, engine.calls[-1]) == (7, 6, ("prefill", 1))


@pytest.mark.parametrize("stop", ["STOP", " bST", "OPd", "dS"])
def test_stop_string_over_token_boundaries(stop: str) -> None:
    s, _ = session([word(w) for w in ("▁a", "▁b", "ST", "OP", "d", "ST", "e")])
    data, end = told(s, "d", 20, (stop, "never"))
    whole = b" a bSTOPdSTe"
    assert b"".join(data) == whole[: whole.index(stop.encode())]
    assert end.reason == "stop"


def test_beginning_of_a_stop_string_is_held_back_and_given_at_the_end() -> None:
    s, _ = session([word("d"), word("ST"), word("e"), word("ST")])
    assert told(s, "d", 4, ("STOP",))[0] == [b"d", b"", b"STe", b"ST"]
    s, _ = session([word("ST"), EOS])
    assert told(s, "d", None, ("STOP",))[0] == [b"", b"ST"]


def test_half_a_character_comes_at_the_end() -> None:
    s, _ = session([3 + 0xC3])
    assert told(s, "d", 1)[0] == [b"\xc3"]


def test_long_prompt_is_read_in_parts_that_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmlocal.generation.session.CHUNKS", (4,))
    s, engine = session([word("d")])
    events = list(s.complete("d" * 8, max_tokens=1, sampling=GREEDY))
    assert events[:2] == [PromptProgress(4, 10), PromptProgress(8, 10)]
    assert [n for _, n in engine.calls] == [4, 4, 2]
    assert [type(event) for event in events[2:]] == [Token, Finished]
    _, end = told(s, "d" * 12, 0)
    assert (end.reused_tokens, engine.calls[-1]) == (10, ("prefill", 4))


@pytest.mark.parametrize(("weights", "part"), [(1, 512), (10**9, 256), (8 * 10**9, 32), (10**12, 32)])
def test_parts_are_short_for_large_models(weights: int, part: int) -> None:
    s, engine = session(n_ctx=2048)
    s.gguf.tensors["w"] = SimpleNamespace(rows=1, k=weights)  # type: ignore[assignment]
    list(s.complete("d" * 1000, max_tokens=0))
    assert engine.calls[0] == ("prefill", part)


def test_engine_is_loaded_for_the_first_answer_only() -> None:
    s, engine = session([EOS], n_ctx=8)
    loads: list[int] = []
    s._record = lambda: loads.append(1) or engine  # type: ignore[assignment,func-returns-value,return-value]
    with s:
        with pytest.raises(PromptTooLongError):
            s.complete("d" * 20)
        assert not loads
        told(s, "d")
        told(s, "e")
    assert loads == [1]
    assert engine.closed


def test_same_seed_same_text() -> None:
    params = SamplingParams(temperature=3, top_k=0, top_p=1, min_p=0, seed=7)
    runs = []
    for _ in range(2):
        s, _ = session()
        *tokens, end = s.complete("d", max_tokens=10, sampling=params)
        runs.append([token.id for token in tokens if isinstance(token, Token)])
        assert isinstance(end, Finished)
        assert end.seed == 7
    assert runs[0] == runs[1]
    assert max(runs[0]) < N_FIXED + len(WORDS)


def texts(shortest: int) -> st.SearchStrategy[str]:
    return st.text("ab\udcff", min_size=shortest, max_size=4)


@given(st.lists(texts(0)), st.lists(texts(1), min_size=1, max_size=3))
def test_stop_filter_passes_what_stands_before_the_first_stop(pieces: list[str], stops: list[str]) -> None:
    f, out = StopFilter(stops), ""
    for piece in pieces:
        out += f.push(piece)
    out += f.push("", final=True)
    whole = "".join(pieces)
    ends = [whole.index(stop) + len(stop) for stop in stops if stop in whole]
    assert f.hit == bool(ends)
    if not ends:
        assert out == whole
    else:
        assert whole.startswith(out)
        assert not any(stop in out for stop in stops)


def test_unknown_file() -> None:
    with pytest.raises(NotFoundError):
        Session.open("no such model.gguf")


@pytest.mark.parametrize("name", FORMATS)
def test_known_text_of_a_trained_model(stories: Path, name: str) -> None:
    expected = json.loads((stories / "expected.json").read_text())
    file = f"stories260K-{name}.gguf"
    with Session.open(stories / file, n_threads=2) as s:
        data, end = told(s, expected["prompt"], expected["max_tokens"])
        again, end_again = told(s, expected["prompt"], expected["max_tokens"])
    text = b"".join(data).decode()
    want = expected["files"][file]["continuation"]
    assert text[: FORMATS[name] or len(want)] == want[: FORMATS[name]]
    assert (end.prompt_tokens, end.reused_tokens, end_again.reused_tokens) == (5, 0, 0)
    assert again == data
