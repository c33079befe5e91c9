"""How a server is reached, and what it may use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ServedModels = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL...",
        help="Names, hf:org/repo, or GGUF files; the first one is loaded now. Default: the built-in guide.",
        show_default=False,
    ),
]
Host = Annotated[
    str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; any but loopback needs --api-key-file.")
]
Port = Annotated[
    int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file", metavar="FILE", help="Require one of the API keys in this file, one a line. Default: no key."
    ),
]
Parallel = Annotated[
    int,
    typer.Option("--parallel", metavar="N", min=1, max=256, help="Requests that a model answers at the same time."),
]
RequestCtx = Annotated[
    int | None,
    typer.Option(
        "-c",
        "--ctx",
        metavar="N",
        min=1,
        help="Context of each request in tokens. Default: the model's own, at most 4096.",
    ),
]
QueueLimit = Annotated[
    int,
    typer.Option("--queue", metavar="N", min=0, help="Requests that may wait; more are refused with status 429."),
]
IdleUnload = Annotated[
    str | None,
    typer.Option(
        "--idle-unload",
        metavar="TIME",
        help="Unload a model that was not used for this long, such as 90s, 10m or 2h. Default: never.",
    ),
]
Grace = Annotated[
    int,
    typer.Option("--grace", metavar="SECONDS", min=0, help="On Ctrl-C or SIGTERM, let answers finish for this long."),
]
LogRequests = Annotated[
    bool, typer.Option("-v", "--verbose", help="Print a line for each request on stderr, without its text.")
]
