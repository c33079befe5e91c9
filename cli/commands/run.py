"""`llmlocal run`: answers one prompt."""

from __future__ import annotations

from pathlib import Path

from .. import choices
from .. import options as o
from ..open_model import checked, chosen, named_or_guide, opened
from ..text_input import files_source, prompt_source
from ..ui import terminal
from ..ui.answer import AnswerScreen
from ..ui.keyboard import interactive
from ..views.answers import Target, deliver, show_prompt


def run(
    model: o.ModelOrQuestion = None,
    prompt: o.Prompt = None,
    file: o.Files = None,
    system: o.System = None,
    raw: o.Raw = False,
    template: o.Template = None,
    max_tokens: o.MaxTokens = None,
    ctx: o.Ctx = None,
    threads: o.Threads = None,
    kv_type: o.KvType = choices.Cache.f16,
    weights: o.WeightsMode = choices.Weights.auto,
    temp: o.Temp = None,
    top_k: o.TopK = None,
    top_p: o.TopP = None,
    min_p: o.MinP = None,
    typical: o.Typical = None,
    repeat: o.RepeatPenalty = None,
    frequency: o.FrequencyPenalty = None,
    presence: o.PresencePenalty = None,
    seed: o.Seed = None,
    stop: o.Stop = None,
    show_prompt_only: o.ShowPrompt = False,
    as_json: o.Json = False,
    output: o.OutputFile = None,
    force: o.Force = False,
    no_newline: o.NoNewline = False,
    no_stdin: o.NoStdin = False,
    think: o.ThinkSwitch = choices.Think.auto,
    think_budget: o.ThinkBudget = None,
    prompt_cache: o.PromptCache = "auto",
    wrap: o.WrapLines = choices.Wrapping.on,
    yes: o.Yes = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Answer a prompt with a model.

    Only the answer goes to stdout, and a final line feed unless --no-newline or --raw -q is given. A model without a
    chat template continues the text. Without a prompt, a terminal gets a chat.

    \b
    Examples: llmlocal run qwen3-0.6b "Why is the sky blue?"
              cat notes.txt | llmlocal run model.gguf "Summarize this." -s "Be brief." -n 100
    """
    from ...chat_format.prompt import PromptRequest

    unasked = prompt is None and isinstance(model, Path) and not (file or raw or show_prompt_only or as_json or output)
    if unasked and interactive() and not no_stdin:
        from .chat import chat

        terminal.tell_person("no prompt given: this is a chat, as llmlocal chat opens it")
        return chat(
            model, system=system, template=template, think=think, think_budget=think_budget, wrap=wrap,
            prompt_cache=prompt_cache, max_tokens=max_tokens, ctx=ctx, threads=threads, kv_type=kv_type,
            weights=weights, temp=temp, top_k=top_k, top_p=top_p, min_p=min_p, typical=typical, repeat=repeat,
            frequency=frequency, presence=presence, seed=seed, stop=stop, yes=yes, quiet=quiet, verbose=verbose,
        )  # fmt: skip
    given = {"temperature": temp, "top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical, "seed": seed}
    given = checked(given | {"repeat_penalty": repeat, "frequency_penalty": frequency, "presence_penalty": presence})
    model, question = named_or_guide(model, prompt, quiet=quiet)
    inputs = [model, *(file or ()), *([Path(template)] if template else [])]
    target = Target(output, as_json, force, inputs)
    read = prompt_source(question, use_stdin=not no_stdin, needed=not file, quiet=quiet)
    whole_lines, wraps = not (no_newline or (raw and quiet)), wrap is choices.Wrapping.on
    screen = AnswerScreen(whole_lines=whole_lines, wrap=wraps, quiet=quiet, verbose=verbose)
    read_files = files_source(file or ())
    with (
        screen,
        opened(model, ctx, threads, kv_type=kv_type, weights=weights, force=yes, cache=prompt_cache) as session,
    ):
        most = session.most_bytes
        texts = read_files(most)
        ready = session.prompt(PromptRequest(read(most), system, texts, raw, template, think.value))
        screen.notes(ready.notes)
        if show_prompt_only:
            return show_prompt(ready, target, model)
        sampling = chosen(session, given)
        events = session.answer(
            ready, max_tokens=max_tokens, sampling=sampling, stop=stop or (), think_budget=think_budget
        )
        deliver(screen, events, target, model)
