"""An MCP server on stdio, or with a port on streamable HTTP, made with the official package. `hang` never answers."""

from __future__ import annotations

import os
import sys
import time

from mcp.server.mcpserver import MCPServer

server = MCPServer("tests")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers.\x1b[2J"""
    return a + b


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("it went\nwrong")


@server.tool()
def pid() -> int:
    """The process of this server."""
    return os.getpid()


@server.tool()
def hang() -> str:
    """Never answer."""
    time.sleep(600)
    return ""


if __name__ == "__main__":
    sys.stderr.write("\x1b[2J noise\n")
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
