"""A model that is busy, closed or shared by threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from python_models import scripted

from llmlocal import Model, UsageError

CALLS: dict[str, Callable[[Model], Any]] = {
    "generate": lambda model: model.generate("a?"),
    "stream": lambda model: model.generate("a?", stream=True),
    "logits": lambda model: model.logits([5]),
    "next_logits": lambda model: model.next_logits([5]),
    "send": lambda model: model.chat().send("a?"),
    "undo": lambda model: model.chat().undo(),
}
FREE: dict[str, Callable[[Model], Any]] = {
    "tokenize": lambda model: model.tokenize("a"),
    "detokenize": lambda model: model.detokenize([5]),
    "vocab_size": lambda model: model.vocab_size,
    "stop_ids": lambda model: model.stop_ids,
    "context": lambda model: model.context,
    "metadata": lambda model: model.metadata,
    "has_chat_template": lambda model: model.has_chat_template,
    "chat": lambda model: model.chat(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_busy_model_refuses_another_call(call: str) -> None:
    model = scripted("one two")
    stream = model.generate("a?", stream=True)
    next(stream)
    with pytest.raises(UsageError, match="busy") as caught:
        CALLS[call](model)
    assert "close it" in caught.value.hint
    for free in FREE.values():
        free(model)
    assert "".join(stream) == "ne two"
    CALLS[call](model)


def test_a_stream_that_is_closed_or_forgotten_frees_the_model() -> None:
    model = scripted("one two")
    stream = model.generate("a?", stream=True)
    stream.close()
    stream.close()
    assert list(stream) == []
    assert model.generate("a?").text == "one two"
    for text in model.generate("a?", stream=True):
        assert text == "o"
        break
    assert model.generate("a?").text == "one two"


@pytest.mark.parametrize("call", CALLS | FREE)
def test_a_closed_model_refuses_everything(call: str) -> None:
    model = scripted("one")
    with model:
        pass
    model.close()
    with pytest.raises(UsageError, match="is closed"):
        (CALLS | FREE)[call](model)
    assert "m" in repr(model)


def test_closing_ends_a_stream() -> None:
    model = scripted("one two")
    stream, engine = model.generate("a?", stream=True), model._access.session.engine
    next(stream)
    model.close()
    assert engine.closed  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="is closed"):
        next(stream)
    assert stream.answer.finish_reason == "interrupted"


def test_functions_that_choose_cannot_use_the_model() -> None:
    model = scripted("one")
    for call in (*CALLS.values(), Model.close):

        def choose(ids: list[int], logits: Any, call: Callable[[Model], Any] = call) -> int:
            call(model)
            return 0

        with pytest.raises(UsageError, match=r"busy|being made"):
            model.generate("a?", sampler=choose)
    assert model.generate("a?").text == "one"


def test_threads_are_refused_or_ended_by_closing() -> None:
    model, came = scripted("x" * 200, delay=0.02), []

    def ask() -> None:
        try:
            model.generate("a?")
        except UsageError as error:
            came.append(str(error))

    begun = threading.Event()
    first = threading.Thread(target=lambda: (begun.set(), ask()))
    first.start()
    begun.wait()
    while not model._access._lock.locked():
        pass
    other = threading.Thread(target=ask)
    other.start()
    other.join()
    assert came == ["the model is busy with another call"]
    model.close()
    first.join(timeout=2)
    assert not first.is_alive()
    assert came[1:] == ["the model is closed"]


def test_threads_with_a_lock_get_what_one_alone_gets(tale: Model) -> None:
    lock, texts = threading.Lock(), ["Once upon", "Lily", "The dog", "One day"]
    alone = [tale.generate(text, max_tokens=20, seed=1).text for text in texts]
    got: dict[str, str] = {}

    def ask(text: str) -> None:
        with lock:
            got[text] = tale.generate(text, max_tokens=20, seed=1).text

    threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[text] for text in texts] == alone
