"""`llmlocal run`: a prompt in, the model's answer out as it is made."""

from __future__ import annotations

from . import options as o
from . import ui
from .prompt import prompt_source


def run(
    model: o.Model,
    prompt: o.Prompt = None,
    raw: o.Raw = False,
    max_tokens: o.MaxTokens = None,
    ctx: o.Ctx = None,
    threads: o.Threads = None,
    temp: o.Temp = 0.8,
    top_k: o.TopK = 40,
    top_p: o.TopP = 0.95,
    min_p: o.MinP = 0.05,
    typical: o.Typical = 1.0,
    repeat_penalty: o.RepeatPenalty = 1.0,
    frequency_penalty: o.FrequencyPenalty = 0.0,
    presence_penalty: o.PresencePenalty = 0.0,
    seed: o.Seed = None,
    stop: o.Stop = None,
    no_stdin: o.NoStdin = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Continue a text. Only the answer goes to stdout.

    \b
    Examples: llmlocal run model.gguf "Once upon a time" -n 32
              cat notes.txt | llmlocal run model.gguf --temp 0 -n 200
    """
    from ..sampler import SamplingParams
    from ..session import Session

    sampling = SamplingParams(
        temperature=temp,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical,
        repeat_penalty=repeat_penalty,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
        seed=seed,
    )
    read = prompt_source(prompt, use_stdin=not no_stdin)
    screen = ui.Screen(quiet=quiet, verbose=verbose)
    with screen, Session.open(model, n_ctx=ctx, n_threads=threads) as session:
        events = session.complete(read(), max_tokens=max_tokens, sampling=sampling, stop=stop or ())
        screen.answer(events)
