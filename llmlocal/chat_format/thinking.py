"""Reasoning of models: the tags of each family, the template variables that switch it, the text that ends it.

Families are recognized by text in their chat template, independent of model names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from .tag_splitter import Span

Think = Literal["auto", "on", "off"]


class ThinkingStyle(NamedTuple):
    """How a family of models marks its reasoning.

    `hint`: text that only its templates contain. `opens` and `closes` are the tags around reasoning; `closing` is the
    text that ends it when put into the context. `drops` are further tags to remove from answers; `anywhere`: reasoning
    may also come between messages. `answers` is the part of `closing` that begins an answer in words, not a call.
    """

    hint: str
    opens: str
    closes: str
    closing: str
    drops: tuple[str, ...] = ()
    anywhere: bool = False
    answers: str = ""

    @property
    def spans(self) -> list[Span]:
        """The tags as spans for the answer's splitter."""
        thought = Span("thought", self.opens, self.closes, first=not self.anywhere)
        return [thought, *(Span("dropped", tag) for tag in self.drops)]

    @property
    def after_thought(self) -> str:
        """What stands between the end of reasoning and the answer."""
        return self.closing.partition(self.closes)[2]

    @property
    def before_call(self) -> str:
        """What stands between the end of reasoning and a call of a function."""
        return self.after_thought.removesuffix(self.answers)

    def opened(self, prompt: str) -> bool:
        """Whether `prompt` ends with an opening tag that the template wrote."""
        return prompt.rstrip().endswith(self.opens.rstrip())


HARMONY = ("<|start|>assistant", "<|channel|>final<|message|>", "<|channel|>commentary<|message|>", "<|end|>")
COMMAND = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>")
SOLAR = ("<|begin|>assistant", "<|content|>")
KIMI = ("<|open|>response<|sep|>", "<|close|>response<|sep|>")
STYLES = (
    ThinkingStyle(
        "<|channel|>analysis",
        "<|channel|>analysis<|message|>",
        "<|end|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        HARMONY,
        True,
        "<|channel|>final<|message|>",
    ),
    ThinkingStyle("<|channel>thought", "<|channel>thought\n", "<channel|>", "\n<channel|>", (), True),
    ThinkingStyle("[THINK]", "[THINK]", "[/THINK]", "[/THINK]"),
    ThinkingStyle("<|START_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>", "<|END_THINKING|>", COMMAND),
    ThinkingStyle(
        "<|open|>think", "<|open|>think<|sep|>", "<|close|>think<|sep|>", "<|close|>think<|sep|>" + KIMI[0], KIMI
    ),
    ThinkingStyle("<seed:think>", "<seed:think>", "</seed:think>", "</seed:think>"),
    ThinkingStyle("<mm:think>", "<mm:think>", "</mm:think>", "</mm:think>"),
    ThinkingStyle("<think:opensource>", "<think:opensource>", "</think:opensource>", "</think:opensource>"),
    ThinkingStyle("<|inner_prefix|>", "<|inner_prefix|>", "<|inner_suffix|>", "<|inner_suffix|>"),
    ThinkingStyle(
        "<|think|><|",
        "<|think|>",
        "<|end|>",
        "<|end|><|begin|>assistant<|content|>",
        SOLAR,
        answers="<|content|>",
    ),
    ThinkingStyle(
        "Here are my reasoning steps:",
        "Here are my reasoning steps:\n",
        "[BEGIN FINAL RESPONSE]",
        "\n[BEGIN FINAL RESPONSE]\n",
        ("[END FINAL RESPONSE]",),
    ),
    ThinkingStyle(
        "Here is my thought process:",
        "Here is my thought process:",
        "Here is my response:",
        "\nHere is my response:",
    ),
    ThinkingStyle("<thinking>", "<thinking>", "</thinking>", "\n</thinking>\n\n"),
    ThinkingStyle("<thought>", "<thought>", "</thought>", "\n</thought>\n\n"),
    ThinkingStyle("◁think▷", "◁think▷", "◁/think▷", "◁/think▷"),
    ThinkingStyle(
        "<response>",
        "<think>",
        "</think>",
        "\n</think>\n<response>",
        ("<response>", "</response>"),
        answers="<response>",
    ),
)
COMMON = ThinkingStyle("<think>", "<think>", "</think>", "\n</think>\n\n")  # the tags of most families

# Template variables that switch thinking; those that a template does not use have no effect.
SWITCHES: dict[Think, Mapping[str, Any]] = {
    "auto": {},
    "on": {"enable_thinking": True, "thinking": True},
    "off": {"enable_thinking": False, "thinking": False, "skip_thinking": True, "thinking_budget": 0},
}
LOOK_BACK = 64  # characters at the end of a prompt, which the template itself wrote
EFFORT = "reasoning_effort"
LEAST_EFFORTS = ("no_think", "none", "minimal", "low")


def style_of(template: str, prompt: str = "") -> ThinkingStyle:
    """The style of a chat template, or of the end of its prompt: some templates assemble their tags from pieces."""
    end = prompt[-LOOK_BACK:]
    return next((style for style in STYLES if style.hint in template or style.hint in end), COMMON)


def switches(template: str, think: Think) -> dict[str, Any]:
    """The variables that turn thinking on or off in a chat template."""
    chosen = {name: value for name, value in SWITCHES[think].items() if name in template}
    if think == "off" and EFFORT in template:
        least = next((word for word in LEAST_EFFORTS if f"'{word}'" in template or f'"{word}"' in template), "low")
        chosen[EFFORT] = least
    return chosen


def can_think(template: str) -> bool:
    """Whether a chat template supports thinking."""
    style = style_of(template)
    return style is not COMMON or style.opens in template or style.closes in template
