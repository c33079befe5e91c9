"""How a server is reached, and what it may use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..choices import KeptPrompts
from ..option_groups import SETTING, OptionGroup, parameter, positional

ServedModels = Annotated[
    list[str] | None,
    positional(
        "MODEL...", "Names, hf:org/repo, or GGUF files; the first one is loaded now. Default: the built-in guide."
    ),
]
Host = Annotated[
    str, parameter("--host ADDRESS", "Address to listen on; any but loopback needs --api-key-file."), SETTING
]
Port = Annotated[int, parameter("--port N", "Port to listen on; 0 takes a free one.", min=0, max=65535), SETTING]
KeyFile = Annotated[
    Path | None,
    parameter("--api-key-file FILE", "Require one of the API keys in this file, one a line. Default: no key."),
    SETTING,
]
Parallel = Annotated[
    int, parameter("--parallel N", "Requests that a model answers at the same time.", min=1, max=256), SETTING
]
QueueLimit = Annotated[
    int, parameter("--queue N", "Requests that may wait; more are refused with status 429.", min=0), SETTING
]
IdleUnload = Annotated[
    str | None,
    parameter(
        "--idle-unload TIME", "Unload a model that was not used for this long, such as 90s, 10m or 2h. Default: never."
    ),
    SETTING,
]
Grace = Annotated[
    int,
    parameter("--grace SECONDS", "On Ctrl-C or SIGTERM, let answers finish for this long.", min=0, max=86400),
    SETTING,
]
PromptsOnDisk = Annotated[
    KeptPrompts, parameter("--prompt-cache", "Keep processed prompts on disk: auto, or off."), SETTING
]
LogRequests = Annotated[bool, parameter("-v --verbose", "Print a line for each request on stderr, without its text.")]


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
