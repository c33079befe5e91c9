"""Chromium without a window, driven through a pipe by the DevTools protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 60


class Browser:
    """A page in a browser. `errors` are what the page threw, or its policy forbade."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._held, self._count = read, write, b"", 0
        self._session: str | None = None
        self.errors: list[Any] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """The result of a command."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            entry = got.get("params", {}).get("entry", {})
            if got.get("method") == "Runtime.exceptionThrown" or entry.get("level") in ("warning", "error"):
                self.errors.append(got["params"])
            if got.get("id") == self._count:
                assert "error" not in got, got
                return got["result"]

    def script(self, text: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=text, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, text: str) -> None:
        """Wait until an expression is true."""
        end = monotonic() + PATIENCE
        while not self.script(text):
            assert monotonic() < end, (text, self.script("document.body.innerText"), self.errors)
            sleep(0.02)

    def key(self, name: str) -> None:
        """Press a key."""
        code = {"Enter": 13, "Escape": 27, "Tab": 9}[name]
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text)

    def _next(self) -> Any:
        while b"\0" not in self._held:
            part = os.read(self._read, 1 << 16)
            assert part, "the browser has ended"
            self._held += part
        one, _, self._held = self._held.partition(b"\0")
        return json.loads(one)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser whose profile lies in `folder`."""
    assert CHROMIUM is not None
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--remote-debugging-pipe", f"--user-data-dir={folder}"]
    shell = f'exec 3<&{to_read} 4>&{from_write}; exec "$@"'
    command = ["bash", "-c", shell, "-", CHROMIUM, *options]
    process = subprocess.Popen(
        command, pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(from_write)
    try:
        yield Browser(from_read, to_write)
    finally:
        process.terminate()
        process.wait(PATIENCE)
        os.close(from_read)
        os.close(to_write)
