"""`llmlocal run`: answers one prompt."""

from __future__ import annotations

from pathlib import Path

from .. import choices
from ..open_model import checked, chosen, named_or_guide, opened
from ..options.chats import WrapLines
from ..options.common import Ctx, Json, KvType, NoNewline, NoStdin, Quiet, Threads, Verbose, WeightsMode, Yes
from ..options.models import ModelOrQuestion
from ..options.prompts import Files, Force, OutputFile, Prompt, PromptCache, Raw, ShowPrompt, System, Template
from ..options.sampling import (
    FrequencyPenalty,
    MaxTokens,
    MinP,
    PresencePenalty,
    RepeatPenalty,
    Seed,
    Stop,
    Temp,
    ThinkBudget,
    ThinkSwitch,
    TopK,
    TopP,
    Typical,
)
from ..text_input import files_source, prompt_source
from ..ui import terminal
from ..ui.answer import AnswerScreen
from ..ui.keyboard import interactive
from ..views.answers import Target, deliver, show_prompt


def run(
    model: ModelOrQuestion = None,
    prompt: Prompt = None,
    file: Files = None,
    system: System = None,
    raw: Raw = False,
    template: Template = None,
    max_tokens: MaxTokens = None,
    ctx: Ctx = None,
    threads: Threads = None,
    kv_type: KvType = choices.Cache.f16,
    weights: WeightsMode = choices.Weights.auto,
    temp: Temp = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    typical: Typical = None,
    repeat: RepeatPenalty = None,
    frequency: FrequencyPenalty = None,
    presence: PresencePenalty = None,
    seed: Seed = None,
    stop: Stop = None,
    show_prompt_only: ShowPrompt = False,
    as_json: Json = False,
    output: OutputFile = None,
    force: Force = False,
    no_newline: NoNewline = False,
    no_stdin: NoStdin = False,
    think: ThinkSwitch = choices.Think.auto,
    think_budget: ThinkBudget = None,
    prompt_cache: PromptCache = "auto",
    wrap: WrapLines = choices.Wrapping.on,
    yes: Yes = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
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
