"""A header with the name, then the arguments as JSON: newer Mistral models, gpt-oss, Kimi, DeepSeek, Solar."""

from __future__ import annotations

import re

from .call import DECODER, Call, Family, mapping

KIMI = "<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>ARGUMENTS<|tool_call_end|>"
DEEPSEEK = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\nARGUMENTS\n```<｜tool▁call▁end｜>"
FAMILIES = (
    Family(
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
        form=f"<|tool_calls_section_begin|>{KIMI}<|tool_calls_section_end|>",
    ),
    Family(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        form=f"<｜tool▁calls▁begin｜>{DEEPSEEK}<｜tool▁calls▁end｜>",
    ),
    Family("<|tool_calls|>", "<|tool_calls|>", "<|calls|>"),
    Family(
        "<|channel|>",
        " to=functions.",
        "<|call|>",
        keep=True,
        form=" to=functions.NAME<|channel|>commentary json<|message|>ARGUMENTS<|call|>",
    ),
    Family(
        "<|channel|>",
        "<|channel|>commentary to=",
        "<|call|>",
        form="<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>ARGUMENTS<|call|>",
    ),
)
# Quantifiers are possessive (*+): each pattern takes time linear in the text.
MISTRAL = re.compile(r"\[TOOL_CALLS\]\s*+([\w.-]++)\s*+(?:\[CALL_ID\]([\w-]++))?+\s*+\[ARGS\]\s*+(?=\{)")
HEADED = re.compile(
    r"(?:to=|begin[｜|]>|<\|tool_call:name\|>)\s*+(?:functions?+\.)?+([\w.-]++)(?::\d++)?+\s*+"
    r"(?:<\|channel\|>commentary)?+\s*+(?:(?:<\|constrain\|>)?+\s*+json)?+\s*+"
    r"(?:<\|message\|>|<\|tool_call_argument_begin\|>|<｜tool▁sep｜>|<\|tool_call:args\|>)\s*+(?=\{)"
)
OLD_DEEPSEEK = re.compile(r"function<｜tool▁sep｜>([\w.-]++)\s*+```json\s*+(?=\{)")
BEGINS = re.compile(rf"\s*+(?:<[^<>]*+>)*+(?:{MISTRAL.pattern}|{HEADED.pattern}|{OLD_DEEPSEEK.pattern})")


def parse(body: str, _: object) -> list[Call]:
    """Calls one after the other; text within the arguments of one is not a call."""
    if calls := _before_json(MISTRAL, body):
        return calls
    head = body if "to=" in body or "begin" in body or "<|tool_call:name|>" in body else f"to={body}"
    return _before_json(HEADED, head) or _before_json(OLD_DEEPSEEK, head)


def _before_json(head: re.Pattern[str], body: str) -> list[Call]:
    calls, at = [], 0
    while found := head.search(body, at):
        arguments, at = DECODER.raw_decode(body, found.end())
        calls.append(Call(found[1], mapping(arguments)))
    return calls
