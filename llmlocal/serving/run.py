"""From settings to a server that runs: what `llmlocal serve` calls."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path

from ..errors import LlmlocalError, UsageError
from .app import application
from .http.guard import LOOPBACK, Access, read_keys
from .http.server import Server, is_loopback, listening
from .model_pool import ModelPool
from .service import Service
from .settings import Settings

__all__ = ["Listener", "Settings", "serve_until_stopped"]
Notes = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens, its address, and who may ask."""

    socket: socket.socket
    access: Access
    url: str

    @classmethod
    def open(cls, host: str, port: int, key_file: Path | None) -> Listener:
        """Listen. Raises UsageError where other machines could ask without a key, and as `listening`, `read_keys`."""
        local, keys = is_loopback(host), read_keys(key_file) if key_file is not None else []
        if not local and not keys:
            hint = "give --api-key-file FILE with a key of 16 characters or more, or leave out --host"
            raise UsageError(f"--host {host} lets other machines in, and no API key is set", hint)
        made = listening(host, port)
        name = f"[{host}]" if ":" in host else host
        hosts = {*LOOPBACK, host} if local else ()
        return cls(made, Access(tuple(keys), tuple(hosts)), f"http://{name}:{made.getsockname()[1]}")


def serve_until_stopped(
    listener: Listener, paths: Mapping[str, Path], settings: Settings, grace: float, notes: Notes, *, verbose: bool
) -> None:
    """Serve models until a signal comes; `notes` shows lines to whoever runs the server.

    Raises NotFoundError, BadFileError, UsageError, ResourceError for models that cannot be loaded.
    """

    def failed(error: Exception) -> None:
        if environ.get("LLMLOCAL_DEBUG"):
            notes("".join(traceback.format_exception(error)).splitlines())
        known = isinstance(error, LlmlocalError)
        notes([f"error: {error}" if known else f"error: internal: {type(error).__name__} (set LLMLOCAL_DEBUG=1)"])

    def told(line: str) -> None:
        if verbose:
            notes([line])

    def logged(method: str, route: str, status: int, seconds: float) -> None:
        told(f"{method} {route} {status} {seconds:.3f} s")

    pool = ModelPool(paths, settings)
    ready = f"serving {', '.join(entry.name for entry in pool.entries)} on {listener.url} (Ctrl-C stops)"
    app = application(Service(pool, failed, told), listener.access, logged)
    said = set[str]()

    def started() -> None:
        said.update(note for model in pool.loaded() for note in model.notes)
        notes([*pool.left_out, *sorted(said), ready])

    Server(app, pool, grace, started).run_on(listener.socket)
    notes(sorted({*pool.notes} - said))
