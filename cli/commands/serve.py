"""`llmlocal serve`: models behind an HTTP API."""

from __future__ import annotations

from .. import choices
from ..options.common import KvType, Quiet, Threads, WeightsMode, Yes
from ..options.prompts import Template
from ..options.server import (
    Grace,
    Host,
    IdleUnload,
    KeyFile,
    LogRequests,
    Parallel,
    Port,
    QueueLimit,
    RequestCtx,
    ServedModels,
)
from ..served_models import paths_of, require_packages, seconds
from ..ui import terminal


def serve(
    model: ServedModels = None,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    parallel: Parallel = 4,
    ctx: RequestCtx = None,
    threads: Threads = None,
    api_key_file: KeyFile = None,
    idle_unload: IdleUnload = None,
    queue: QueueLimit = 64,
    grace: Grace = 30,
    template: Template = None,
    kv_type: KvType = choices.Cache.f16,
    weights: WeightsMode = choices.Weights.auto,
    yes: Yes = False,
    quiet: Quiet = False,
    verbose: LogRequests = False,
) -> None:
    """Serve models over HTTP to editors, agents and scripts.

    Speaks OpenAI's protocol (/v1/chat/completions, /v1/completions, /v1/embeddings, ...). Only programs on this machine
    can connect, unless --host says otherwise.

    \b
    Examples: llmlocal serve qwen3-0.6b
              llmlocal serve model.gguf minilm.gguf --port 9000 --parallel 8 --ctx 8192
              llmlocal serve qwen3-0.6b --host 0.0.0.0 --api-key-file keys.txt
    """
    require_packages()
    idle = seconds(idle_unload)
    from ...serving.run import Listener, Settings, serve_until_stopped

    listener = Listener.open(host, port, api_key_file)
    settings = Settings(ctx, threads, parallel, queue, kv_type, weights, yes, template, idle)
    with listener.socket, terminal.Screen(quiet=quiet) as screen:
        paths = paths_of(model or (), quiet=quiet)
        serve_until_stopped(listener, paths, settings, grace, screen.notes, verbose=verbose)
