"""How models think aloud: the tags of each family, its switch in the template, the text that ends a thought.

Families are known by what their chat template contains; nothing here knows a model's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .tag_splitter import TagSpan

Think = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class ThinkingStyle:
    """A family's way to think.

    `hint`: a text that only its templates contain. `opens` and `closes` are the tags of a thought; `closing` is what
    the model has to read for its thought to be over. `drops` are further tags that are no part of an answer;
    `anywhere`: thoughts come between other messages too.
    """

    hint: str
    opens: str
    closes: str
    closing: str
    drops: tuple[str, ...] = ()
    anywhere: bool = False

    @property
    def spans(self) -> list[TagSpan]:
        """The tags as spans of an answer."""
        thought = TagSpan("thought", self.opens, self.closes, first=not self.anywhere)
        return [thought, *(TagSpan("dropped", tag) for tag in self.drops)]

    def opened(self, prompt: str) -> bool:
        """Whether `prompt` ends within a thought that its template began."""
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
        ("<|begin|>assistant", "<|content|>"),
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
    ThinkingStyle("<response>", "<think>", "</think>", "\n</think>\n<response>", ("<response>", "</response>")),
)
COMMON = ThinkingStyle("<think>", "<think>", "</think>", "\n</think>\n\n")  # the tags of most families

# Variables by which templates switch thinking; those that a template does not read do nothing.
SWITCHES: dict[Think, Mapping[str, Any]] = {
    "auto": {},
    "on": {"enable_thinking": True, "thinking": True},
    "off": {"enable_thinking": False, "thinking": False, "skip_thinking": True, "thinking_budget": 0},
}
LOOK_BACK = 64  # characters of a prompt's end, where the template itself speaks
EFFORT = "reasoning_effort"
LEAST_EFFORTS = ("no_think", "none", "minimal", "low")


def style_of(template: str, prompt: str = "") -> ThinkingStyle:
    """The style that fits a chat template, or the end of a prompt that it wrote: some put their tags together."""
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
    """Whether a chat template knows of thoughts at all."""
    style = style_of(template)
    return style is not COMMON or style.opens in template or style.closes in template
