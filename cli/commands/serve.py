"""`llmlocal serve`: models behind an HTTP API."""

from __future__ import annotations

from ..options.engine import DecoderOptions
from ..options.prompts import Template
from ..options.report import Quiet
from ..options.server import LogRequests, Reach, ServedModels, Sharing
from ..served_models import check_adapted, paths_of, require_packages, seconds
from ..ui import terminal


def serve(
    model: ServedModels = None,
    *,
    reach: Reach,
    sharing: Sharing,
    template: Template = None,
    model_options: DecoderOptions,
    quiet: Quiet = False,
    verbose: LogRequests = False,
) -> None:
    """Serve models over HTTP to editors, agents and scripts.

    Speaks the protocols of OpenAI (/v1/chat/completions, /v1/responses, /v1/embeddings, ...), Anthropic (/v1/messages)
    and Ollama (/api/chat), and has a page to chat on at /. Only programs on this machine can connect, unless --host
    says otherwise.

    \b
    Examples: llmlocal serve qwen3-0.6b
              llmlocal serve model.gguf minilm.gguf --port 9000 --parallel 8
              llmlocal serve qwen3-0.6b --host 0.0.0.0 --api-key-file keys.txt
    """
    require_packages()
    idle, opening = seconds(sharing.idle_unload), model_options.arguments()
    from ...serving.run import Listener, Settings, serve_until_stopped

    listener = Listener.open(reach.host, reach.port, reach.api_key_file)
    settings = Settings(
        parallel=sharing.parallel,
        queue=sharing.queue,
        template=template,
        idle_unload=idle,
        prompt_cache=sharing.prompt_cache == "auto",
        **opening,
    )
    with listener.socket, terminal.Screen(quiet=quiet) as screen:
        paths = paths_of(model or (), quiet=quiet)
        check_adapted(paths, settings.lora)
        serve_until_stopped(listener, paths, settings, sharing.grace, screen.notes, verbose=verbose)
