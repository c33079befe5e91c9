"""Hostile answers of MCP servers, Markdown of models, and arguments of templates; see test_fuzz.

Everything is read in this process. The default lane of the tests draws a few inputs of each.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from fuzzing import HOSTILE, SEED, Lane, altered, contract, damaged, lane, written  # noqa: F401  a fixture
from vocabularies import spm

from llmlocal import tokenizer
from llmlocal.chat import mcp
from llmlocal.chat.tools import MAX_RESULT
from llmlocal.chat_format.chat_template import ChatTemplate
from llmlocal.chat_format.prompt import conversation
from llmlocal.chat_format.tool_calls import Call
from llmlocal.cli.options.prompts import PromptOptions
from llmlocal.cli.ui.code import highlighted
from llmlocal.cli.ui.markdown import Markdown
from llmlocal.cli.ui.wrap import Wrap
from llmlocal.constraints.grammar import MAX_TEXT

# ---- MCP servers ----------------------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "description": "d"}}, "required": ["a"]}
LISTED = {
    "tools": [
        {"name": "add", "title": "Add", "description": "Add.\x1b[2J", "inputSchema": SCHEMA, "outputSchema": SCHEMA},
        {"name": "add", "description": None, "inputSchema": {"type": "object"}, "annotations": {"title": "x"}},
        {"name": "no name\n", "inputSchema": {}, "_meta": {"a": 1}},
    ],
    "nextCursor": "more",
    "_meta": {"x": [1]},
}
SAID = {
    "content": [
        {"type": "text", "text": "3\x1b[2J", "annotations": {"audience": ["user"], "priority": 0.5}},
        {"type": "image", "data": "eA==", "mimeType": "image/png"},
        {"type": "resource_link", "uri": "file:///x", "name": "x"},
        {"type": "resource", "resource": {"uri": "file:///x", "text": "y"}},
    ],
    "structuredContent": {"result": 3},
    "isError": False,
}


class Answering:
    """A client of a server whose answers are drawn, and read by the package's own types."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def _answer(self, kind: str, whole: Any) -> Any:
        from mcp import types

        content = altered(whole, self._rng) if self._rng.random() < 0.9 else whole
        data = written(content) if self._rng.random() < 0.8 else damaged(written(content), self._rng)
        return getattr(types, kind).model_validate_json(data)

    async def list_tools(self, cursor: str | None) -> Any:
        return self._answer("ListToolsResult", LISTED)

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        return self._answer("CallToolResult", SAID)


def test_answers_of_mcp_servers(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """What a server lists and answers: a server that cannot be used is one line, and a call has a result."""
    pytest.importorskip("mcp")
    clients: list[Answering] = []

    @asynccontextmanager
    async def connected(*_: Any) -> AsyncIterator[Answering]:
        yield clients[-1]

    monkeypatch.setattr(mcp, "_connected", connected)
    for number, rng in lane("mcp", 10_000):
        clients[:] = [Answering(rng)]
        with contract(number), mcp.McpServers({"a": {"command": "x"}}) as servers:
            at = f"#{number} of seed {SEED}"
            assert all(note.isprintable() for note in servers.notes), at
            for tool in servers.tools:
                declared = tool.declared["function"]
                assert mcp.NAME.fullmatch(declared["name"]) and len(json.dumps(declared["parameters"])) < 2 * MAX_TEXT
                assert all(char.isprintable() or char == "\n" for char in declared["description"]), at
            for _ in range(3):
                said = servers.call("a", "add", Call("add", {"a": 1}))
                assert len(said.encode()) <= 4 * MAX_RESULT + 100, at


# ---- Markdown -------------------------------------------------------------------------------------------------------

PIECES = [
    "*", "**", "***", "_", "__", "~~", "`", "``", "```", "~~~", "#", "###### ", "- ", "+ ", "12. ", "1) ", "> ", ">",
    "---", "|", "| a |", "|:--|--:|", "\n", "\n\n", " ", "    ", "\t", "[", "](", ")", "](http://u)", "![", "\\",
    "<", "&amp;", "word", "a", "日本", "e\u0301", "\U0001f600", "\u200b", "\u00a0", "\r", "\u2028", "\x0c", "\x1c",
    "python\n", "http://x(y)", "x" * 90, "*" * 500, "> " * 90, "|" * 200,
]  # fmt: skip
COLOUR = re.compile("\x1b\\[[0-9;]*m")


def drawn(text: str, rng: Random, columns: int) -> str:
    """What a terminal is sent of a text that comes in pieces."""
    markdown, out = Markdown(lambda: columns, highlighted, Wrap(lambda: columns)), []
    while text:
        n = rng.choice([1, 3, 40, 5000])
        out.append(markdown.push(text[:n]))
        text = text[n:]
    return "".join([*out, markdown.finish()])


def test_markdown_of_models(lane: Lane) -> None:  # noqa: F811
    """A terminal gets colours, and nothing else that is not in the text; every word is there, in any width."""
    for number, rng in lane("markdown", 10_000):
        text = "".join(rng.choices(PIECES, k=rng.randrange(1, 60)))
        shown = COLOUR.sub("", drawn(text, rng, rng.choice([0, 1, 2, 9, 80])))
        at = f"#{number} of seed {SEED}: {text!r}: {shown!r}"
        assert "\x1b" not in shown, at
        for letter in "wr日本\U0001f600":
            assert shown.count(letter) >= text.count(letter), at


# ---- arguments of templates -----------------------------------------------------------------------------------------

USES = [
    "{{ v }}", "{{ v | tojson }}", "{{ v.a }}", "{{ v[0] }}", "{{ v['a'] }}", "{% if v %}x{% endif %}", "{{ v + 1 }}",
    "{% for x in v %}{{ x }}{% endfor %}", "{{ v ~ v }}", "{{ v * 9 }}", "{{ v | length }}", "{{ v | join(v) }}",
    "{{ v | int }}{{ v | float }}", "{{ v is string }}", "{{ v.format(v) }}", "{{ v % v }}", "{{ range(v) }}",
    "{{ v | indent(v) }}", "{{ '%s' | format(v) }}", "{{ v.items() }}", "{{ v | dictsort }}", "{{ 'x' * v }}",
    "{{ v.split(v) }}", "{{ v ** v }}", "{{ v // 0 }}", "{{ v | sort | unique | list }}", "{{ messages[v] }}",
    "{{ strftime_now(v) }}", "{{ raise_exception(v) }}", "{{ v | round(v) }}", "{{ v == v }}", "{{ v in v }}",
]  # fmt: skip
NAMES = ["v", "v", "v", "v", "v", "", "messages", "bos_token", "__class__", "é", "v.a", "range", "enable_thinking"]


def test_arguments_of_templates(lane: Lane) -> None:  # noqa: F811
    """What --template-arg gives a template, as text or JSON."""
    words = tokenizer.load(spm("▁the"))
    for number, rng in lane("arguments", 10_000):
        value = rng.choice(HOSTILE) if rng.random() < 0.5 else altered({"a": [1, "b", None], "c": {"d": 2.5}}, rng)
        text = json.dumps(value) if rng.random() < 0.8 else damaged(written(value), rng).decode("utf-8", "replace")
        source = "{{ messages[0].content }}" + "".join(rng.choices(USES, k=rng.randrange(1, 4)))
        options = PromptOptions(template_arg=[f"{rng.choice(NAMES)}={text}", "v=1"][: rng.choice([1, 1, 2])])
        with contract(number):
            template = ChatTemplate(source, {"bos_token": "<s>"})
            conversation([{"role": "user", "content": "hi"}], template, words, variables=options.variables)
