"""`llmlocal run`: a prompt in, the model's answer out as it is made."""

from __future__ import annotations

from . import options as o
from . import ui
from .answers import Target, deliver, show_prompt
from .prompt import prompt_source, read_files


def run(
    model: o.Model,
    prompt: o.Prompt = None,
    file: o.Files = None,
    system: o.System = None,
    raw: o.Raw = False,
    template: o.Template = None,
    max_tokens: o.MaxTokens = None,
    ctx: o.Ctx = None,
    threads: o.Threads = None,
    kv_type: o.KvType = o.Cache.f16,
    temp: o.Temp = 0.8,
    top_k: o.TopK = 40,
    top_p: o.TopP = 0.95,
    min_p: o.MinP = 0.05,
    typical: o.Typical = 1.0,
    repeat: o.RepeatPenalty = 1.0,
    frequency: o.FrequencyPenalty = 0.0,
    presence: o.PresencePenalty = 0.0,
    seed: o.Seed = None,
    stop: o.Stop = None,
    show_prompt_only: o.ShowPrompt = False,
    as_json: o.Json = False,
    output: o.OutputFile = None,
    force: o.Force = False,
    no_stdin: o.NoStdin = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Answer a question, or continue a text where the model knows no chat. Only the answer goes to stdout.

    \b
    Examples: llmlocal run model.gguf "Why is the sky blue?" -n 100
              cat notes.txt | llmlocal run model.gguf "Summarize this." -s "Be brief."
    """
    from ..prompt import Request
    from ..sampler import SamplingParams
    from ..session import Session

    sampling = SamplingParams(
        temp, top_k, top_p, min_p, typical, repeat, frequency_penalty=frequency, presence_penalty=presence, seed=seed
    )
    target, read = Target(output, as_json, force), prompt_source(prompt, use_stdin=not no_stdin, needed=not file)
    texts = read_files(file or ())
    screen = ui.Screen(quiet=quiet, verbose=verbose)
    with screen, Session.open(model, n_ctx=ctx, n_threads=threads, kv_type=kv_type) as session:
        ready = session.prompt(Request(read(), system, texts, raw, template))
        screen.notes(ready.notes)
        if show_prompt_only:
            return show_prompt(ready, target, model)
        deliver(screen, session.answer(ready, max_tokens=max_tokens, sampling=sampling, stop=stop or ()), target, model)
