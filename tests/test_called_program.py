"""Files that declare functions, and the programs that are run for calls of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from llmlocal.chat import called_program
from llmlocal.chat.tools import load, run
from llmlocal.chat_format.tool_calls import Call
from llmlocal.errors import BadFileError, NotFoundError

TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}


@pytest.mark.parametrize(
    "content", ["", "x", "3", "[3]", '[{"name": 3}]', '[{"name": "f", "parameters": 3}]', "[" * 9999]
)
def test_tools_files_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(BadFileError, match="not a list of functions"):
        load(tmp_path / "t.json")
    with pytest.raises(NotFoundError):
        load(tmp_path / "none.json")


def test_tools_and_their_programs(tmp_path: Path) -> None:
    both = [{"type": "function", "function": TOOL, "command": "prog 'a b'"}, {"name": "g"}]
    (tmp_path / "t.json").write_text(json.dumps(both))
    first, second = load(tmp_path / "t.json")
    assert (first.name, first.command, first.declared) == ("f", ("prog", "a b"), {"type": "function", "function": TOOL})
    assert (second.name, second.command) == ("g", ())
    call = Call("f", {"a": "é; rm -rf /"})
    assert json.loads(run(["cat"], call)) == {"a": "é; rm -rf /"}
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"], call) == "error: exit code 3\nout\nerr"
    assert run(["/no such program"], call).startswith("error: /no such program cannot be started")


def test_programs_for_calls_end_with_what_they_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless output is not kept, and what a program leaves running neither holds the chat up nor takes its result."""
    monkeypatch.setattr(called_program, "AFTER", 0.2)
    out = called_program.output_of(["sh", "-c", "head -c 3000000 /dev/zero; sleep 60 & echo $! >&2"], b"", 60)
    assert (out[0], out[1]) == (0, bytes(called_program.MOST_OUTPUT))
    os.kill(int(out[2]), signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        called_program.output_of(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/id; sleep 60"], b"x" * 1_000_000, 1)
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(int((tmp_path / "id").read_text()))
        assert started.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) or started.wait(5) is None
