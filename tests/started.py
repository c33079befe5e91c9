"""The program in a process of its own that goes on while a test does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import forked

PROGRAM = [sys.executable, "-m", "llmlocal"]


def start(*arguments: str | Path, **more: Any) -> forked.Process:
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return forked.start([*PROGRAM, *map(str, arguments)], **streams | more)
