"""Puts text into the clipboard: with the system's own program, otherwise through the terminal (OSC 52)."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from contextlib import suppress

from .terminal import can_draw

# The environment variable that must be set, and the program with its arguments.
PROGRAMS = (
    ("WAYLAND_DISPLAY", ("wl-copy",)),
    ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("DISPLAY", ("xsel", "--clipboard", "--input")),
    ("", ("pbcopy",)),
    ("", ("clip.exe",)),
    ("TERMUX_VERSION", ("termux-clipboard-set",)),
)
OSC_LIMIT = 74_994  # bytes of base64 that terminals accept
PATIENCE = 5  # seconds


def copy(text: str) -> str:
    """Put `text` into the clipboard. Returns what took it: a program or "the terminal"; empty if nothing could."""
    data = text.encode("utf-8", "replace")
    for variable, command in PROGRAMS:
        if (not variable or os.environ.get(variable)) and shutil.which(command[0]):
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run(
                    command,
                    input=data,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=True,
                    timeout=PATIENCE,
                )
                return command[0]
    encoded = base64.b64encode(data).decode()
    if len(encoded) > OSC_LIMIT or not can_draw(sys.stdout):
        return ""
    sys.stdout.write(f"\x1b]52;c;{encoded}\x07")
    sys.stdout.flush()
    return "the terminal"
