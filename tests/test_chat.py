"""Conversations with a scripted model: what it reads, what of an answer is kept, what happens at the context's end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from chatting import opened
from hypothesis import given
from hypothesis import strategies as st

from llmlocal.chat.chat import Chat, ChatSettings
from llmlocal.chat.conversation import Conversation, Turn, assistant
from llmlocal.errors import PromptTooLongError, UsageError
from llmlocal.generation.events import Event, Finished, Token
from llmlocal.generation.sampling_params import SamplingParams

TEMPLATE = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
THINKS = TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
OPENS = TEMPLATE + "<think>\n"


def chat(answers: Sequence[str], template: str = TEMPLATE, n_ctx: int = 512, **more: Any) -> Chat:
    session = opened({"answers": list(answers), "template": template, "n_ctx": n_ctx})
    return Chat(session, Conversation(), ChatSettings(SamplingParams(temperature=0), **more))


def ask(d: Chat, text: str) -> tuple[str, Finished]:
    d.conversation.begin(text)
    *events, end = d.reply()
    assert isinstance(end, Finished)
    return "".join(e.text for e in events if isinstance(e, Token)), end


def thought(events: Sequence[Event]) -> str:
    tokens = [e for e in events if isinstance(e, Token)]
    return "".join(part.text for token in tokens for part in token.parts if part.kind == "thought")


def engine(d: Chat) -> Any:
    return d.session.engine


def read(d: Chat) -> str:
    """What the model has in its context."""
    return d.session.tokenizer.decode(engine(d).tokens).replace("▁", " ")


def test_turns_are_read_in_the_template_and_only_what_is_new() -> None:
    d = chat(["one", "two"])
    assert ask(d, "a?")[0] == "one"
    assert ask(d, "b?")[0] == "two"
    assert read(d) == "[user:a?][assistant:one][user:b?]two"
    assert engine(d).calls[0][1] > 5
    _, end = ask(d, "c?")
    assert end.reused_tokens >= len("[user:a?][assistant:one][user:b?]")


def test_thoughts_are_kept_apart_and_not_read_again() -> None:
    d = chat(["<think>\nhm</think>\n\n4", "5"], THINKS)
    assert ask(d, "a?")[0] == "4"
    assert d.conversation.turns[0].messages[1] == {"role": "assistant", "content": "4", "reasoning_content": "hm"}
    ask(d, "b?")
    assert read(d).startswith("[user:a?][assistant:4][user:b?]")


def test_thought_that_the_template_opens() -> None:
    d = chat(["hm</think>\n\n4"], OPENS)
    assert ask(d, "a?")[0] == "4"
    assert d.conversation.turns[0].thought == "hm"


def test_thinking_off_by_the_template_or_by_closing_it() -> None:
    d = chat(["4"], THINKS, think="off")
    ask(d, "a?")
    assert read(d).startswith("[user:a?]<think>\n\n</think>\n\n4")
    d = chat(["4"], OPENS, think="off")
    ask(d, "a?")
    assert read(d).startswith("[user:a?]<think>\n</think>\n\n4")
    assert d.conversation.turns[0].messages[1] == {"role": "assistant", "content": "4"}


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_thinking_budget_closes_the_thought(budget: int) -> None:
    d = chat(["abcdefghijklmn</think>no"], OPENS, think_budget=budget)
    d.conversation.begin("a?")
    events = list(d.reply())
    assert thought(events) == "abcdefghijklmn"[: max(1, budget)]
    assert "\n</think>\n\n" in read(d)
    assert sum(e.thinking for e in events if isinstance(e, Token)) <= budget + len("\n</think>\n\n")


def test_stopped_answer_is_kept() -> None:
    d = chat(["one two three"])
    d.conversation.begin("a?")
    events = d.reply()
    said = ""
    while len(said) < 5:
        event = next(events)
        said += event.text if isinstance(event, Token) else ""
    events.close()
    assert d.conversation.turns[0].answer == said
    ask(d, "b?")
    assert read(d).startswith(f"[user:a?][assistant:{said}][user:b?]")


def test_calls_and_their_results() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {}}}}}
    template = TEMPLATE + "<tool_call>"
    d = chat(
        ['so: <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', "done"], template, 1024, tools=[tool]
    )
    assert ask(d, "a?")[0] == "so: "
    ((id, call),) = d.calls
    assert (call.name, call.arguments) == ("f", {"a": 1})
    d.add_results(["42"])
    list(d.reply())
    roles = [m["role"] for m in d.conversation.turns[0].messages]
    assert roles == ["user", "assistant", "tool", "assistant"]
    assert (
        d.conversation.turns[0].messages[2]["tool_call_id"]
        == id
        == d.conversation.turns[0].messages[1]["tool_calls"][0]["id"]
    )
    assert d.conversation.turns[0].answer == "done"


def test_a_call_that_is_cut_short_is_said() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    d = chat(["<tool_call>nonsense"], TEMPLATE + "<tool_call>", 1024, tools=[tool], max_tokens=20)
    assert ask(d, "a?")[0].startswith('\n{"name"')
    assert d.calls == []


def long_chat(n_ctx: int, turns: int, **more: Any) -> Chat:
    d = chat(["the summary"], n_ctx=n_ctx, **more)
    for n in range(turns):
        d.conversation.turns.append(Turn([{"role": "user", "content": f"question {n}"}, assistant("an answer " * 3)]))
    d.conversation.begin("the last question")
    return d


def test_dropping_frees_half_of_the_context_at_once() -> None:
    d = long_chat(512, 20)
    assert not d.fits()
    dropped = d.drop_to_fit()
    assert 10 < dropped < 20
    assert d.fits()
    assert len(d.prompt().ids) <= 256
    assert d.conversation.first == dropped
    assert len(d.conversation.turns) == 21  # none is lost


def test_last_turn_that_does_not_fit_alone() -> None:
    d = chat(["x"], n_ctx=64)
    d.conversation.begin("long " * 40)
    with pytest.raises(PromptTooLongError, match="the last turn alone"):
        d.drop_to_fit()


def test_summary_takes_the_place_of_what_it_sums_up() -> None:
    d = long_chat(900, 12)
    assert not d.fits()
    list(d.summarize())
    assert (d.conversation.summary, d.conversation.first) == ("the summary", 12)
    assert d.fits()
    list(d.reply())
    assert read(d).startswith("[system:Summary of our conversation so far:\n\nthe summary][user:the last question]")


def test_summary_that_is_stopped_changes_nothing() -> None:
    d = long_chat(900, 12)
    events = d.summarize()
    next(events)
    events.close()
    assert (d.conversation.summary, d.conversation.first) == (None, 0)


def test_a_model_without_a_template_cannot_chat() -> None:
    session = opened({"answers": ["x"], "n_ctx": 64})
    session.tokenizer.vocab.ids.pop("<|im_start|>")
    with pytest.raises(UsageError, match="no chat template"):
        Chat(session, Conversation(), ChatSettings())


@given(st.lists(st.sampled_from(["begin", "undo", "clear", "drop", "summarize"]), max_size=20))
def test_no_order_of_changes_breaks_a_conversation(changes: list[str]) -> None:
    whole = Conversation("Be.")
    for change in changes:
        if change == "begin":
            whole.begin("x")
        elif change == "undo":
            whole.undo()
        elif change == "clear":
            whole.clear()
        elif change == "drop":
            whole.drop(2)
        else:
            whole.summarize("s", len(whole.turns) - 1 if whole.turns else 0)
        assert 0 <= whole.first <= len(whole.turns)
        assert whole.visible() >= 0
        messages = whole.messages()
        assert messages[0]["role"] == "system"
        assert len(messages) == 1 + whole.visible()
