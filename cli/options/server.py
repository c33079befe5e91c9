"""How a server is reached, and what it may use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..choices import KeptPrompts
from ..option_groups import SETTING, OptionGroup

ServedModels = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL...",
        help="Names, hf:org/repo, or GGUF files; the first one is loaded now. Default: the built-in guide.",
        show_default=False,
    ),
]
Host = Annotated[
    str,
    typer.Option("--host", metavar="ADDRESS", help="Address to listen on; any but loopback needs --api-key-file."),
    SETTING,
]
Port = Annotated[
    int,
    typer.Option("--port", metavar="N", min=0, max=65535, help="Port to listen on; 0 takes a free one."),
    SETTING,
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file", metavar="FILE", help="Require one of the API keys in this file, one a line. Default: no key."
    ),
    SETTING,
]
Parallel = Annotated[
    int,
    typer.Option("--parallel", metavar="N", min=1, max=256, help="Requests that a model answers at the same time."),
    SETTING,
]
QueueLimit = Annotated[
    int,
    typer.Option("--queue", metavar="N", min=0, help="Requests that may wait; more are refused with status 429."),
    SETTING,
]
IdleUnload = Annotated[
    str | None,
    typer.Option(
        "--idle-unload",
        metavar="TIME",
        help="Unload a model that was not used for this long, such as 90s, 10m or 2h. Default: never.",
    ),
    SETTING,
]
Grace = Annotated[
    int,
    typer.Option("--grace", metavar="SECONDS", min=0, help="On Ctrl-C or SIGTERM, let answers finish for this long."),
    SETTING,
]
PromptsOnDisk = Annotated[
    KeptPrompts,
    typer.Option("--prompt-cache", help="Keep processed prompts on disk: auto, or off."),
    SETTING,
]
LogRequests = Annotated[
    bool, typer.Option("-v", "--verbose", help="Print a line for each request on stderr, without its text.")
]


class Reach(OptionGroup):
    """Who reaches the server."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    api_key_file: KeyFile = None


class Sharing(OptionGroup):
    """How clients share a model."""

    parallel: Parallel = 4
    queue: QueueLimit = 64
    idle_unload: IdleUnload = None
    grace: Grace = 30
    prompt_cache: PromptsOnDisk = KeptPrompts.auto
