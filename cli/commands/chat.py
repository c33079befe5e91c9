"""`llmlocal chat`: a conversation, saved turn by turn."""

from __future__ import annotations

import typer

from .. import choices
from .. import options as o
from ..open_model import checked, named_or_saved


def chat(
    model: o.ModelOrQuestion = None,
    question: o.FirstQuestion = None,
    file: o.FirstFiles = None,
    system: o.System = None,
    template: o.Template = None,
    resume: o.Continue = False,
    session: o.SessionId = None,
    no_save: o.NoSave = False,
    think: o.ThinkSwitch = choices.Think.auto,
    think_budget: o.ThinkBudget = None,
    thoughts: o.Thoughts = choices.ShownThoughts.show,
    render: o.Render = choices.Rendering.auto,
    wrap: o.WrapLines = choices.Wrapping.on,
    context_end: o.ContextEnd = choices.AtEnd.ask,
    tools: o.ToolsFile = None,
    tool_run: o.ToolRun = "ask",
    commands: o.Commands = False,
    prompt_cache: o.PromptCache = "auto",
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
    yes: o.Yes = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Chat with a model.

    Each turn is saved as soon as it ends. Type /help in the chat for its commands. From a pipe each line is a turn, and
    is sent as it is.

    \b
    Examples: llmlocal chat model.gguf "Why is the sky blue?" -s "Be brief."
              llmlocal chat --continue
    """
    from ..chat.start import Limits, Start
    from ..ui.answer import AnswerScreen

    given = {"temperature": temp, "top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical, "seed": seed}
    given = checked(given | {"repeat_penalty": repeat, "frequency_penalty": frequency, "presence_penalty": presence})
    path, asked = named_or_saved(model, question)
    limits = Limits(max_tokens, stop or (), think.value, think_budget)
    kept = not no_save
    start = Start(path, ctx, threads, kv_type, weights, yes, prompt_cache, kept, template, given, limits, quiet)
    start.files, start.question = file or (), asked
    turn_options = start.turn_options(tools, tool_run, context_end, commands)
    saved, conversation = start.conversation(resume, session, system)
    wraps = wrap is choices.Wrapping.on
    screen = AnswerScreen(render, thoughts=thoughts, whole_lines=True, wrap=wraps, quiet=quiet, verbose=verbose)
    raise typer.Exit(start.run(screen, conversation, saved, turn_options))
