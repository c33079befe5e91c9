"""`Model.chat`: the history, what of a turn is kept, the end of the context."""

from __future__ import annotations

from typing import Any

import pytest
from python_models import read, scripted

import llmlocal
from llmlocal import Model, UsageError


def test_chat_keeps_its_history() -> None:
    model = scripted("one", "two", "three")
    chat = model.chat("Be.", temperature=0)
    assert str(chat.send("a?")) == "one"
    assert "".join(chat.send("b?", stream=True, max_tokens=2)) == "tw"
    assert read(model).startswith("[system:Be.][user:a?][assistant:one][user:b?]tw"[:-1])
    said = [(m["role"], m["content"]) for m in chat.messages]
    assert said == [("system", "Be."), ("user", "a?"), ("assistant", "one"), ("user", "b?"), ("assistant", "tw")]
    chat.messages.clear()
    assert chat.undo() == "b?"
    assert len(chat.messages) == 3
    again = model.chat(messages=chat.messages)
    assert again.system == "Be."
    assert str(again.send("c?")) == "three"
    assert len(chat.messages) == 3 and len(again.messages) == 5
    chat.clear()
    chat.system = None
    assert (chat.messages, chat.undo()) == ([], None)


def test_what_of_a_turn_is_kept() -> None:
    chat = scripted("one", "two", "three").chat()
    with chat.send("a?", stream=True) as stream:
        next(stream)
    assert stream.answer.finish_reason == "interrupted"
    assert chat.messages[-1] == {"role": "assistant", "content": stream.answer.text}
    before = chat.messages
    with pytest.raises(ZeroDivisionError):
        chat.send("b?", sampler=lambda ids, logits: 1 // 0)
    with pytest.raises(UsageError):
        chat.send("b?", think="hard")  # type: ignore[call-overload]
    with pytest.raises(llmlocal.PromptTooLongError):
        chat.send("b" * 600)
    assert chat.send("b?", max_tokens=0).text == ""
    assert chat.messages == before


def test_context_end_of_a_chat() -> None:
    stops = scripted("one", n_ctx=120).chat()
    drops = scripted("one", n_ctx=120).chat(context_end="drop")
    with pytest.raises(llmlocal.PromptTooLongError):
        for _ in range(6):
            stops.send("a question?")
    notes = [drops.send("a question?").notes for _ in range(6)]
    assert any("oldest turns" in note for some in notes for note in some)
    assert len(drops.messages) == 12


@pytest.mark.parametrize(
    "messages",
    [[{"role": "assistant", "content": "a"}], [{"role": "user"}], "hi", [{"role": "system", "content": "b"}] * 2],
    ids=str,
)
def test_bad_histories(messages: Any) -> None:
    with pytest.raises(UsageError):
        scripted("one").chat(messages=messages)


def test_bad_chats(tale: Model) -> None:
    with pytest.raises(UsageError, match="no chat template"):
        tale.chat()
    assert str(scripted("one", template=None).chat(template="chatml").send("a?")) == "one"
    with pytest.raises(UsageError, match="context_end"):
        scripted("one").chat(context_end="ask")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="two system prompts"):
        scripted("one").chat("a", messages=[{"role": "system", "content": "b"}])
    with pytest.raises(UsageError, match="text"):
        scripted("one").chat().send("")
