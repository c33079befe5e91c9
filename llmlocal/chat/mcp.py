"""Tools of MCP servers: programs that are started, or URLs (streamable HTTP), as a configuration file names them.

The official package `mcp` speaks the protocol, in a thread with an event loop of its own. What servers say is hostile:
names are checked, descriptions cut and freed of control characters, schemas limited, and every wait has an end.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..chat_format.tool_calls import Call
from ..constraints.grammar import MAX_TEXT
from ..constraints.schema import is_larger
from ..errors import BadFileError, LlmlocalError, NetworkError, NotFoundError, UsageError
from ..files.small_file import read_small
from ..text import escaped, shown
from .tools import MAX_FILE, MAX_RESULT, PATIENCE, Tool

START_SECONDS, STOP_SECONDS = 60.0, 10.0
MOST_SERVERS, MOST_TOOLS, MOST_PAGES = 32, 128, 16
MAX_DESCRIPTION, MAX_SAID = 4096, 200  # characters
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
KNOWN = {"command", "args", "env", "cwd", "url", "headers", "type"}
HINT = '{"mcpServers": {"files": {"command": "npx", "args": [...]}, "web": {"url": "https://..."}}}'


def servers(path: Path) -> dict[str, Mapping[str, Any]]:
    """The servers of a configuration file by name. Raises NotFoundError, BadFileError for what is wrong in it."""
    where = escaped(str(path))
    data = read_small(path, MAX_FILE)
    try:
        found = json.loads(data)
        entries = found.get("mcpServers") if isinstance(found, dict) else None
        if not isinstance(entries, dict):
            raise ValueError("mcpServers is missing, or not an object")
        return {name: _server(name, entry) for name, entry in entries.items()}
    except (ValueError, RecursionError) as error:
        said = escaped(str(error))[:MAX_SAID]
        raise BadFileError(f"{where}: not a configuration of MCP servers: {said}", HINT) from None


def _server(name: str, entry: Any) -> Mapping[str, Any]:
    """One entry, checked. Raises ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{shown(name[:64])} is not a name of letters, digits, _, . and -")
    if not isinstance(entry, dict):
        raise ValueError(f"{name} is not an object")
    if unknown := set(entry) - KNOWN:
        raise ValueError(f"{name} has the unknown field {shown(min(unknown)[:64])}")
    if isinstance(entry.get("command"), str) == isinstance(entry.get("url"), str):
        raise ValueError(f"{name} needs a command or a url")
    if "url" in entry and not entry["url"].startswith(("http://", "https://")):
        raise ValueError(f"{name} has a url that is not http or https")
    parts = entry.get("args", []), entry.get("env", {}), entry.get("headers", {})
    if [type(part) for part in parts] != [list, dict, dict]:
        raise ValueError(f"{name} needs a list as args, and objects as env and headers")
    texts = [*parts[0], *parts[1].values(), *parts[2].values(), entry.get("cwd", "")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name} has an argument, a variable or a folder that is not a text")
    return entry


class McpServers:
    """Servers that run. A context manager: `tools` are theirs, and leaving it ends what was started.

    Raises UsageError where the package `mcp` is missing, NotFoundError, NetworkError or BadFileError where a server
    cannot be started or does not speak the protocol. `notes` name tools that cannot be used.
    """

    def __init__(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        if len(entries) > MOST_SERVERS:
            raise UsageError(f"the configuration has {len(entries)} servers: {MOST_SERVERS} at most")
        try:
            import mcp  # noqa: F401
        except ImportError:
            raise UsageError("--mcp needs the package mcp", "pip install 'llmlocal[mcp]'") from None
        self._entries = entries
        self.tools: list[Tool] = []
        self.notes: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._clients: dict[str, Any] = {}
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="mcp", daemon=True)

    def __enter__(self) -> McpServers:
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        try:
            self._started.result()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the servers that were started. May be called more than once."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # the loop may have ended
                self._loop.call_soon_threadsafe(self._end)
            self._thread.join(STOP_SECONDS)

    def call(self, server: str, name: str, call: Call) -> str:
        """The result of a tool, for the model to read; an error message where it fails."""
        waiting = asyncio.run_coroutine_threadsafe(self._call(server, name, call), self._loop)
        try:
            return waiting.result(PATIENCE + STOP_SECONDS)
        except TimeoutError:
            waiting.cancel()
            return f"error: {server} took longer than {PATIENCE:.0f} seconds"
        except Exception as error:  # of the server, or of the package
            return f"error: {server}: {_said(error)}"

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._task = self._loop.create_task(self._serve())
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # raised again where the servers were started
            if not self._started.done():
                self._started.set_exception(error)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        """Start the servers, and keep them until the task is cancelled."""
        with Path(os.devnull).open("w") as quiet:
            await self._serve_quietly(quiet)

    async def _serve_quietly(self, quiet: IO[str]) -> None:
        async with AsyncExitStack() as stack:
            for name, entry in self._entries.items():
                try:
                    async with asyncio.timeout(START_SECONDS):
                        client = await stack.enter_async_context(_connected(entry, quiet))
                        self._clients[name] = client
                        await self._list(name, client)
                except Exception as error:
                    raise _failure(name, entry, error) from None
            self._started.set_result(None)
            await asyncio.Event().wait()

    async def _list(self, server: str, client: Any) -> None:
        """Take the tools of a server."""
        cursor, pages = None, 0
        while pages < MOST_PAGES:
            listed = await client.list_tools(cursor=cursor)
            pages += 1
            for found in listed.tools:
                self._take(server, found)
            cursor = listed.next_cursor
            if not cursor:
                return
        self.notes.append(f"the MCP server {server} has more than {MOST_PAGES} pages of tools; the rest is left out")

    def _take(self, server: str, found: Any) -> None:
        name = found.name if found.name not in {tool.name for tool in self.tools} else f"{server}.{found.name}"
        schema = found.input_schema
        wrong = ""
        if not NAME.fullmatch(name) or name in {tool.name for tool in self.tools}:
            wrong = "it has a name that cannot be used"
        elif not isinstance(schema, dict) or is_larger(schema, MAX_TEXT):
            wrong = f"its schema has more than {MAX_TEXT} characters"
        elif len(self.tools) >= MOST_TOOLS:
            wrong = f"there are {MOST_TOOLS} already"
        if wrong:
            self.notes.append(f"the tool {shown(found.name[:64])} of the MCP server {server} is left out: {wrong}")
            return
        about = "".join(char if char.isprintable() or char == "\n" else " " for char in found.description or "")
        declared = {"name": name, "description": about[:MAX_DESCRIPTION], "parameters": schema}
        run = partial(self.call, server, found.name)
        self.tools.append(Tool({"type": "function", "function": declared}, server=server, remote=run))

    async def _call(self, server: str, name: str, call: Call) -> str:
        async with asyncio.timeout(PATIENCE):
            result = await self._clients[server].call_tool(name, dict(call.arguments))
        texts = [part.text if getattr(part, "type", "") == "text" else f"[{part.type}]" for part in result.content]
        text = "\n".join(texts).strip()[:MAX_RESULT]
        return f"error: {text}" if result.is_error else text


@asynccontextmanager
async def _connected(entry: Mapping[str, Any], quiet: Any) -> AsyncIterator[Any]:
    """A client that is connected to a server. The server's messages on stderr are dropped: they may move a terminal."""
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    async with AsyncExitStack() as stack:
        if "url" in entry:
            http = await stack.enter_async_context(create_mcp_http_client(headers=dict(entry.get("headers", {}))))
            transport = streamable_http_client(entry["url"], http_client=http)
        else:
            given = {name: entry[name] for name in ("args", "env", "cwd") if name in entry}
            transport = stdio_client(StdioServerParameters(command=entry["command"], **given), errlog=quiet)
        yield await stack.enter_async_context(Client(transport, read_timeout_seconds=PATIENCE))


def _failure(name: str, entry: Mapping[str, Any], error: BaseException) -> LlmlocalError:
    """Why a server cannot be used, as an error of ours."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        said = f"the MCP server {name} did not answer within {START_SECONDS:.0f} seconds"
        return NetworkError(said, "start it by hand to see what it says")
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"the MCP server {name}: {escaped(str(entry['command']))}: no such program")
    kind = NetworkError if "url" in entry else BadFileError
    return kind(f"the MCP server {name} cannot be used: {_said(error)}", "start it by hand to see what it says")


def _said(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return escaped(str(error).partition("\n")[0][:MAX_SAID] or type(error).__name__)
