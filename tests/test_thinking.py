"""Thoughts are told from answers by each family's tags, wherever the stream is cut and whoever opened the thought."""

from __future__ import annotations

import json
import lzma
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmlocal.chat_format.chat_template import ChatTemplate
from llmlocal.chat_format.tag_splitter import Part, PartSplitter, Span
from llmlocal.chat_format.thinking import COMMON, STYLES, ThinkingStyle, can_think, style_of, switches
from llmlocal.errors import LlmlocalError

GOLDEN = Path(__file__).parent / "golden" / "chat_templates.json.xz"
HARMONY = next(style for style in STYLES if style.anywhere)
USER = [{"role": "user", "content": "Hello"}]


@cache
def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lzma.decompress(GOLDEN.read_bytes()))
    return found


def parts_of(text: str, style: ThinkingStyle = COMMON, *, opened: bool = False, cuts: int = 1) -> list[Part]:
    """The parts of a text that is given `cuts` characters at a time."""
    splitter = PartSplitter(style.spans, opened=opened)
    parts = [part for at in range(0, len(text), cuts) for part in splitter.push(text[at : at + cuts])]
    return [*parts, *splitter.push("", final=True)]


def split(text: str, style: ThinkingStyle = COMMON, *, opened: bool = False, cuts: int = 1) -> dict[str, str]:
    """What was thought and what was said."""
    out = {"thought": "", "answer": ""}
    for part in parts_of(text, style, opened=opened, cuts=cuts):
        out[part.kind] += part.text
    return out


def without_tags(text: str) -> str:
    """The text without tags and blanks; what stands around a tag makes no other one."""
    return "".join(text.replace("<think>", " ").replace("</think>", " ").split())


@pytest.mark.parametrize("style", [*STYLES, COMMON], ids=lambda style: style.opens)
@pytest.mark.parametrize("cuts", [1, 2, 5, 1000])
def test_every_family(style: ThinkingStyle, cuts: int) -> None:
    text = f"{style.opens}\nTwo and two.\n{style.closing}\nIt is <4>.\n"
    assert split(text, style, cuts=cuts) == {"thought": "Two and two.", "answer": "It is <4>.\n"}
    opened = text.removeprefix(style.opens)
    assert split(opened, style, opened=True, cuts=cuts) == {"thought": "Two and two.", "answer": "It is <4>.\n"}


def test_a_tag_within_an_answer_is_text() -> None:
    text = "In HTML there is no <think> tag, and no </think>."
    assert split(text) == {"thought": "", "answer": text}
    assert split("<think>a</think>b <think>c</think>")["answer"] == "b <think>c</think>"


def test_a_thought_that_never_ends() -> None:
    assert split("<think>on and on </thin") == {"thought": "on and on </thin", "answer": ""}
    assert split("<thi") == {"thought": "", "answer": "<thi"}


def test_messages_between_thoughts() -> None:
    text = (
        "<|channel|>analysis<|message|>First.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        "<|start|>assistant<|channel|>analysis<|message|>Then.<|end|><|start|>assistant<|channel|>final<|message|>4"
    )
    assert split(text, HARMONY) == {"thought": "First.Then.", "answer": "I look.4"}


@example(["<think>", "<", "</think>", "<think>", "/think>"])  # two thoughts that would make a tag together
@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "th", "a", " ", "\n", "/think>"]), max_size=12))
def test_nothing_but_tags_and_blanks_is_lost(words: list[str]) -> None:
    text = "".join(words)
    assert split(text) == split(text, cuts=1000)
    assert "".join(without_tags(part.text) for part in parts_of(text, cuts=1000)) == without_tags(text)


def test_calls_come_whole() -> None:
    splitter = PartSplitter([Span("call", "<c>", "</c>"), Span("call", '{"name"', first=True, keep=True)])
    parts = [part for char in "Well: <c>f()</c> so" for part in splitter.push(char)] + splitter.push("", final=True)
    assert [part for part in parts if part.kind == "call"] == [Part("call", "f()")]
    splitter = PartSplitter([Span("call", '{"name"', first=True, keep=True)])
    assert splitter.push(' {"name": 3}', final=True) == [Part("call", '{"name": 3}')]
    splitter = PartSplitter([Span("call", '{"name"', first=True, keep=True)])
    assert "".join(part.text for part in splitter.push('a {"name": 3}', final=True)) == 'a {"name": 3}'


def prompts(model: str) -> dict[str, str]:
    entry, now = golden()["models"][model], datetime.fromisoformat(golden()["now"])
    template = ChatTemplate(entry["template"], golden()["special"], now=lambda: now)
    return {
        think: template.render(USER, **switches(entry["template"], think)).text  # type: ignore[arg-type]
        for think in ("auto", "on", "off")
    }


# What a thought switched on, and off, leaves at the end of the prompt.
SWITCHED = {
    "Qwen-Qwen3-0.6B": (False, "<think>\n\n</think>\n\n"),
    "Qwen3.5-4B": (True, "<think>\n\n</think>\n\n"),
    "GLM-4.7-Flash": (True, "</think>"),
    "HuggingFaceTB-SmolLM3-3B": (False, "<think>\n\n</think>\n"),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (True, "<think></think>"),
    "deepseek-ai-DeepSeek-V3.1": (True, "</think>"),
    "google-gemma-4-31B-it": (False, "<|channel>thought\n<channel|>"),
    "Cohere2MoE": (True, "<|END_THINKING|>"),
}


@pytest.mark.parametrize("model", SWITCHED)
def test_switch_in_the_template(model: str) -> None:
    opened, ends = SWITCHED[model]
    found, style = prompts(model), style_of(golden()["models"][model]["template"])
    assert style.opened(found["on"]) == opened
    assert found["off"].endswith(ends)
    assert not style.opened(found["off"])


def test_effort_is_the_switch_of_some() -> None:
    template = golden()["models"]["openai-gpt-oss-120b"]["template"]
    assert switches(template, "off")["reasoning_effort"] == "low"
    assert "Reasoning: low" in prompts("openai-gpt-oss-120b")["off"]


def test_a_prompt_that_opens_the_thought_is_seen() -> None:
    """In every template whose prompt ends with an opening tag."""
    seen = 0
    for model, entry in golden()["models"].items():
        try:
            text = prompts(model)["on"].rstrip()
        except LlmlocalError:
            continue
        if text.endswith(("think>", "THINKING|>", "think<|sep|>")) and not text.endswith(
            ("</think>", "END_THINKING|>")
        ):
            if not style_of(entry["template"], text).opened(text):
                assert text.endswith("</think:opensource>"), model
            else:
                seen += 1
    assert seen >= 20


def test_families_that_do_not_think() -> None:
    thinks = {model: can_think(entry["template"]) for model, entry in golden()["models"].items()}
    assert not thinks["meta-llama-Llama-3.1-8B-Instruct"]
    assert not thinks["google-gemma-2-2b-it"]
    assert thinks["Qwen-Qwen3-0.6B"]
    assert thinks["openai-gpt-oss-120b"]
