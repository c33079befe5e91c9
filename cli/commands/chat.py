"""`llmlocal chat`: a conversation, saved turn by turn."""

from __future__ import annotations

import typer

from .. import choices
from ..open_model import checked, named_or_saved
from ..options.chats import (
    Commands,
    ContextEnd,
    Continue,
    FirstFiles,
    FirstQuestion,
    NoSave,
    Render,
    SessionId,
    Thoughts,
    ToolRun,
    ToolsFile,
    WrapLines,
)
from ..options.common import Ctx, KvType, Quiet, Threads, Verbose, WeightsMode, Yes
from ..options.models import ModelOrQuestion
from ..options.prompts import PromptCache, System, Template
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


def chat(
    model: ModelOrQuestion = None,
    question: FirstQuestion = None,
    file: FirstFiles = None,
    system: System = None,
    template: Template = None,
    resume: Continue = False,
    session: SessionId = None,
    no_save: NoSave = False,
    think: ThinkSwitch = choices.Think.auto,
    think_budget: ThinkBudget = None,
    thoughts: Thoughts = choices.ShownThoughts.show,
    render: Render = choices.Rendering.auto,
    wrap: WrapLines = choices.Wrapping.on,
    context_end: ContextEnd = choices.AtEnd.ask,
    tools: ToolsFile = None,
    tool_run: ToolRun = "ask",
    commands: Commands = False,
    prompt_cache: PromptCache = "auto",
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
    yes: Yes = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
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
