"""MCP servers: their tools are listed and called, and whatever a server does, the program goes on or says why not."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmlocal.chat import mcp
from llmlocal.chat.mcp import McpServers, servers
from llmlocal.chat.tools import Tool
from llmlocal.chat_format.tool_calls import Call
from llmlocal.cli.chat.function_calls import FunctionCaller
from llmlocal.cli.ui.answer import AnswerScreen
from llmlocal.cli.views.calls import Functions
from llmlocal.errors import BadFileError, LlmlocalError, NetworkError, NotFoundError, UsageError

SERVER = str(Path(__file__).with_name("mcp_server.py"))
ENTRY = {"command": sys.executable, "args": [SERVER]}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def running() -> Iterator[McpServers]:
    with McpServers({"tests": ENTRY}) as made:
        yield made


def called(running: McpServers, name: str, **arguments: Any) -> str:
    tool = next(tool for tool in running.tools if tool.name == name)
    assert tool.remote is not None and tool.server == "tests"
    return tool.remote(Call(name, arguments))


def test_tools_are_listed_and_called(running: McpServers) -> None:
    assert [tool.name for tool in running.tools] == ["add", "fail", "pid", "hang"] and not running.notes
    add = running.tools[0].declared["function"]
    assert add["description"] == "Add two numbers. [2J" and list(add["parameters"]["properties"]) == ["a", "b"]
    assert called(running, "add", a=1, b=2) == "3"
    assert called(running, "fail").startswith("error: ")
    assert called(running, "add", a="x").startswith("error: ")


def test_a_tool_that_hangs_is_given_up(running: McpServers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "PATIENCE", 0.5)
    assert called(running, "hang").startswith("error: ")


def test_servers_end_with_the_program() -> None:
    with McpServers({"tests": ENTRY}) as made:
        pid = int(called(made, "pid"))
        assert alive(pid)
    assert not alive(pid)


@pytest.mark.parametrize(
    ("script", "kind"),
    [("exit 3", BadFileError), ("echo nonsense; sleep 600", NetworkError), ("sleep 600", NetworkError)],
)
def test_servers_that_are_none(script: str, kind: type[LlmlocalError], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "START_SECONDS", 1.0)
    with (
        pytest.raises(kind, match="the MCP server odd") as refusal,
        McpServers({"odd": {"command": "sh", "args": ["-c", script]}}),
    ):
        pass
    assert "\n" not in str(refusal.value)


def test_a_program_that_is_missing() -> None:
    with pytest.raises(NotFoundError, match="no such program"), McpServers({"odd": {"command": "/no/such program"}}):
        pass


def test_a_url_where_nothing_is() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/mcp"
        with pytest.raises(NetworkError, match="the MCP server odd"), McpServers({"odd": {"url": url}}):
            pass


def test_calls_need_consent(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def ask(question: str, answers: object) -> str:
        asked.append(question)
        return "yes" if len(asked) > 1 else "no"

    declared = {"type": "function", "function": {"name": "f"}}
    tool = Tool(declared, server="s", remote=lambda call: str(call.arguments))
    with AnswerScreen(quiet=True) as screen:
        caller = FunctionCaller(Functions((tool,)), screen, ask, lambda _: "", interactive=False)
        assert [caller.result(Call("f", {"a": 1})) for _ in range(2)] == [None, "{'a': 1}"]
        never = FunctionCaller(Functions((tool,), "never"), screen, ask, lambda _: "", interactive=False)
        assert never.result(Call("f", {})) is None
    assert len(asked) == 2 and asked[0].startswith("call the MCP server s? (always: ")


@pytest.mark.parametrize("command", ["run", "chat"])
def test_wrong_options(said: Any, command: str, tmp_path: Path) -> None:
    assert said(command, "m", "hi", "--mcp", tmp_path / "none.json")[0] == 3
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"odd": {"command": "/no/such program"}}}')
    code, out, err = said(command, "m", "hi", "--mcp", tmp_path / "mcp.json")
    assert (code, out) == (3, "") and err.startswith("error: the MCP server odd: /no/such program: no such program")


@pytest.mark.slow
def test_streamable_http() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    process = subprocess.Popen([sys.executable, SERVER, str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        with McpServers({"tests": {"url": f"http://127.0.0.1:{port}/mcp", "headers": {"x-key": "1"}}}) as made:
            assert called(made, "add", a=1, b=2) == "3"
    finally:
        process.kill()
        process.wait()


def test_the_package_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(UsageError, match="needs the package mcp"):
        McpServers({"tests": ENTRY})


def listed(name: str, description: Any = "", schema: Any = None) -> Any:
    return SimpleNamespace(name=name, description=description, input_schema={} if schema is None else schema)


def test_what_servers_say_is_checked() -> None:
    made = McpServers({})
    tools = [
        listed("a"),
        listed("a", "second"),
        listed("x\x1b[2J"),
        listed("n" * 65),
        listed(""),
        listed("b", "z" * 9999),
    ]
    for tool in [*tools, listed("c", schema={"properties": {"x" * 70_000: {}}}), listed("d", "\x1b[2J\u202e\n")]:
        made._take("s", tool)
    assert [tool.name for tool in made.tools] == ["a", "s.a", "b", "d"]
    assert len(made.tools[2].declared["function"]["description"]) == mcp.MAX_DESCRIPTION
    assert made.tools[3].declared["function"]["description"] == " [2J \n"
    assert len(made.notes) == 4 and all(note.isprintable() and len(note) < 250 for note in made.notes)
    for n in range(200):
        made._take("s", listed(f"t{n}"))
    assert len(made.tools) == mcp.MOST_TOOLS


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"mcpServers": []}', '{"mcpServers": {"a": 3}}', '{"mcpServers": {"a": {}}}',
        '{"mcpServers": {"a": {"command": "x", "url": "http://x"}}}', '{"mcpServers": {"a": {"url": "file:///x"}}}',
        '{"mcpServers": {"a b": {"command": "x"}}}', '{"mcpServers": {"a": {"command": "x", "args": [3]}}}',
        '{"mcpServers": {"a": {"command": "x", "argv": []}}}', "[" * 9999, '{"mcpServers": 3}', "3", "null",
        '{"mcpServers": {"a": {"command": "x", "args": "y"}}}', '{"mcpServers": {"a": {"command": "x", "env": []}}}',
        '{"mcpServers": {"a": {"command": "x", "cwd": 3}}}',
    ],
)  # fmt: skip
def test_configurations_that_are_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text(content)
    with pytest.raises(BadFileError, match="not a configuration of MCP servers") as error:
        servers(tmp_path / "mcp.json")
    assert not re.search("indices|attribute|subscript|Type", str(error.value))  # Python's own words
    with pytest.raises(NotFoundError):
        servers(tmp_path / "none.json")


def test_a_configuration(tmp_path: Path) -> None:
    entries = {
        "a": {"command": "x", "args": ["y"], "env": {"K": "v"}},
        "b": {"url": "https://x/mcp", "headers": {"k": "v"}},
    }
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": entries}))
    assert servers(tmp_path / "mcp.json") == entries
