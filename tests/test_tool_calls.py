"""Every family's calls are found in what its own template writes of them, and wrong ones are no calls."""

from __future__ import annotations

import json
import lzma
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocal.chat_format.tag_splitter import PartSplitter
from llmlocal.chat_format.thinking import style_of
from llmlocal.chat_format.tool_calls import MAX_BODY, Call, parse, spans

GOLDEN = Path(__file__).parent / "golden" / "chat_templates.json.xz"
# Templates that do not write a call the way that their model does, or write none.
NOT_WRITTEN = {"Reka-Edge", "Kimi-K3", "MiniMax-M3", "ibm-granite-granite-3.3-2B-Instruct"}


USER = "naïve 🤖 [INST] </s>"


@cache
def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lzma.decompress(GOLDEN.read_bytes()))
    return found


def written() -> list[tuple[str, str, str]]:
    """Model, template, and what its template writes from the first call on."""
    found = []
    for model, entry in golden()["models"].items():
        text = next((t for name in ("tool result", "tool turns") if (t := entry["outputs"][name])), None)
        if text is None or "Zürich" not in text or model in NOT_WRITTEN:
            continue
        text = text.split(USER, 1)[1]
        begun = (entry["outputs"]["one"] or USER).split(USER, 1)[1]  # what the answer is written after
        found.append((model, entry["template"], text.removeprefix(begun)))
    return found


def called(template: str, text: str, tools: list[Any]) -> list[Call]:
    splitter = PartSplitter([*style_of(template).spans, *spans(template)])
    parts = [part for at in range(0, len(text), 3) for part in splitter.push(text[at : at + 3])]
    parts += splitter.push("", final=True)
    return [call for part in parts if part.kind == "call" for call in parse(part.text, tools)]


@pytest.mark.parametrize(("model", "template", "text"), written(), ids=[model for model, _, _ in written()])
def test_a_call_is_read_as_its_template_writes_it(model: str, template: str, text: str) -> None:
    conversation = golden()["conversations"]["tool result"]
    calls = [call for m in conversation["messages"] for call in m.get("tool_calls", ())]
    expected = calls[0]["function"]
    found = called(template, text, conversation["tools"])
    assert found, text[:300]
    assert found[0].name == expected["name"]
    units = found[0].arguments.get("units")
    assert units in (None, "None", "null")
    assert {**found[0].arguments, "units": None} == expected["arguments"]


def test_enough_families() -> None:
    assert len(written()) >= 35


F = Call("f", {"a": 1})
SPELLINGS = {
    "llama3.1": '{"name": "f", "parameters": {"a": 1}}',
    "llama3.1, a list": '[{"name": "f", "parameters": {"a": 1}}]',
    "two": '{"name": "f", "arguments": {"a": 1}}\n{"name": "f", "arguments": "{\\"a\\": 1}"}',
    "openai": '{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}',
    "gpt-oss": 'functions.f <|constrain|>json<|message|>{"a": 1}',
    "gpt-oss, other order": ' to=functions.f<|channel|>commentary json<|message|>{"a": 1}',
    "granite, phi-4": '[{"name": "f", "arguments": {"a": 1}}]',
    "deepseek r1": 'function<｜tool▁sep｜>f\n```json\n{"a": 1}\n```',
    "python": "[f(a=1)]",
    "qwen3-coder": "\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n",
    "glm": "f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n",
    "command-r": '[{"tool_call_id": "0", "tool_name": "f", "parameters": {"a": 1}}]',
    "mistral": '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "x"}]',
    "mistral, new": '[TOOL_CALLS]f[ARGS]{"a": 1}',
    "kimi": '<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>',
    "gemma": "call:f{a:1}",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(name: str) -> None:
    assert parse(SPELLINGS[name])[0] == F
    assert set(map(repr, parse(SPELLINGS[name]))) == {repr(F)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{",
        '{"a": 1, "b": 2}',
        "[1, 2]",
        '{"name": 3}',
        '{"name": "f", "arguments": [1]}',
        "f(1)",
        "[" * 9999,
    ],
)
def test_no_calls(text: str) -> None:
    assert parse(text) == []


@given(st.text(alphabet="{}[]()<>|\"':,=/ \nfa1tool_callTOOL_CALLSARGSparameter", max_size=60))
def test_whatever_a_model_writes_is_no_error(text: str) -> None:
    for call in parse(text):
        assert isinstance(call.name, str)


HEADS = {
    "mistral": "[TOOL_CALLS]f", "mistral id": "[TOOL_CALLS]f[CALL_ID]", "to": "to=f", "kimi": "<|tool_call_begin|>f",
    "deepseek": "function<｜tool▁sep｜>f", "glm": "f<arg_key>a</arg_key><arg_value>", "glm key": "f<arg_key>",
    "qwen": "<function=f><parameter=a>", "invoke": '<invoke name="f"><parameter name="a">', "gemma": "call:f{a:",
    "json": '{"name": "f", "arguments": {"a": ', "python": "[f(a=", "nothing": "",
}  # fmt: skip
FILLERS = (" ", "\n\t", "<", "[", "{", "(", '"', "'", "\\", "a", "9", "(1),", "-", ",", ":", "=", '{"a":', "f(a=")
REPEATED = (
    "[TOOL_CALLS]", "[TOOL_CALLS]f[ARGS]", "[TOOL_CALLS]f[ARGS]{}", "to=", "to=f", "to=f<|message|>{}", "begin|>",
    "function<｜tool▁sep｜>f", "<arg_key>", "<arg_key>a</arg_key>", "<arg_key>a</arg_key><arg_value>", "<arg_value>",
    "</arg_key>", "<arg_key", "<tool_call", "<tool_call>f", "<function=", "<function=f>", "<function=f>{}",
    "<parameter=", "<parameter=a>", "</parameter>", "</param", "<invoke name=", "call:", "call:f{", "call:f{}",
    '<|"|>', "{}", "{},", '{"f":{}}', "[]", "f(),", "[f(", "f(a='x'),", "functions.f", "json", "<|constrain|>json",
    "<|channel|>commentary", "<tool_sep>", "<![CDATA[", "None", "3.", "{'a':", '\\"',
)  # fmt: skip
SIZE = 30_000
HOSTILE = [
    *(f"{head}{filler * (SIZE // len(filler))}" for head, filler in zip(cycle(HEADS.values()), FILLERS, strict=False)),
    *(unit * (SIZE // len(unit)) for unit in REPEATED),
]


def test_there_are_62_hostile_bodies() -> None:
    assert len(HOSTILE) >= 62


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: repr(body[:24]))
def test_time_is_linear_in_the_text(body: str) -> None:
    """Thirty thousand characters take well below a second; a quadratic pattern takes minutes, which fails."""
    parse(body)
    parse(f"f{body}", [{"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}])


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS.values(), ids=list(HEADS))
def test_every_beginning_with_every_filler(head: str) -> None:
    for filler in (*FILLERS, *REPEATED):
        parse(head + filler * (SIZE // len(filler)))


def test_a_call_of_any_size_is_parsed_up_to_a_limit() -> None:
    large = "x" * (MAX_BODY - 100)
    assert parse(f'{{"name": "f", "arguments": {{"a": "{large}"}}}}') == [Call("f", {"a": large})]
    assert parse(f'{{"name": "f", "arguments": {{"a": "{large * 2}"}}}}') == []


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("[f(a=(1, 2), b=(3), c=(), d=(4,))]", {"a": [1, 2], "b": 3, "c": [], "d": [4]}),
        ("f(a={'x': [None, true]}, b='it\\'s')", {"a": {"x": [None, True]}, "b": "it's"}),
        ("f(a=-1.5e3)", {"a": -1500.0}),
        ('f(a="""a "b" c""", b="\\ud83d\\ude00 \\x41")', None),
        ("call:f{a:<|\"|>it's {x:1}<|\"|>, b:[{c:null}], 'd':1}", {"a": "it's {x:1}", "b": [{"c": None}], "d": 1}),
        ("f(a={1, 2})", ()), ("f(a=b'x')", ()), ("f(a=1j)", ()), ("f(a=...)", ()), ("f(a=1e999)", ()), ("f(*a)", ()),
        ('{"name": "f", "arguments": {"a": NaN}}', ()), ('{"name": "f", "arguments": {"a": 1e999}}', ()),
        (f"f(a={'[' * 999}{']' * 999})", ()), ("f(a={1: 2})", ()), ("f(a=1) and more", ()),
    ],
)  # fmt: skip
def test_arguments_are_values_that_json_has(text: str, arguments: Any) -> None:
    calls = parse(text)
    json.dumps([call.message("1") for call in calls], allow_nan=False)
    if arguments is not None:
        assert calls == ([Call("f", arguments)] if arguments != () else [])


def test_arguments_can_be_encoded() -> None:
    bodies = ('{"name": "f", "arguments": {"\\ud800": ["\\udfff é"]}}', 'call:f{a:"\\ud800"}', "f(a='\\ud800')")
    for body in (*bodies, "f<arg_key>a</arg_key><arg_value>'\\ud800'</arg_value>"):
        (call,) = parse(body)
        assert "\ufffd" in json.dumps(call.message("1"), ensure_ascii=False).encode().decode()


def test_what_stands_in_an_argument_is_no_call() -> None:
    inner = "[TOOL_CALLS]g[ARGS]{}"
    assert parse(f'[TOOL_CALLS]f[ARGS]{{"a": "{inner}"}}') == [Call("f", {"a": inner})]
    assert parse('to=functions.parse_json<|message|>{"a": "to=g<|message|>{}"}')[0].name == "parse_json"


def test_a_name_alone_is_a_call_of_a_function_that_there_is() -> None:
    assert parse("\nnow\n", [{"name": "now"}]) == [Call("now", {})]


def test_arguments_that_are_declared_as_texts_stay_texts() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}}]
    assert parse("f\n<arg_key>a</arg_key>\n<arg_value>12</arg_value>", tools) == [Call("f", {"a": "12"})]
