"""`llmlocal chat`: a conversation, saved turn by turn."""

from __future__ import annotations

import typer

from .. import choices
from ..open_model import named_or_saved
from ..options.chats import ChatDisplay, FirstQuestion, FirstTurn, FunctionCalls, SavedSession
from ..options.engine import DecoderOptions
from ..options.forms import AnswerForm
from ..options.models import ModelOrQuestion
from ..options.prompts import PromptCache
from ..options.report import Quiet, Verbose
from ..options.sampling import AnswerLimits, Sampling


def chat(
    model: ModelOrQuestion = None,
    question: FirstQuestion = None,
    *,
    first: FirstTurn,
    saved: SavedSession,
    limits: AnswerLimits,
    form: AnswerForm,
    sampling: Sampling,
    calls: FunctionCalls,
    display: ChatDisplay,
    model_options: DecoderOptions,
    prompt_cache: PromptCache = "auto",
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
    from ..chat.turns import TurnOptions
    from ..ui.answer import AnswerScreen

    given = sampling.given()
    path, asked = named_or_saved(model, question)
    ends = Limits(limits.max_tokens, limits.stop or (), limits.think.value, limits.think_budget, form.requested())
    settled = sampling.settled_names | limits.settled | first.settled
    files, save = first.file or (), not saved.no_save
    start = Start(path, model_options, prompt_cache, save, first.template, given, ends, quiet, files, asked, settled)
    screen = AnswerScreen(
        display.render,
        thoughts=display.thoughts,
        whole_lines=True,
        wrap=display.wrap is choices.Wrapping.on,
        quiet=quiet,
        verbose=verbose,
    )
    with calls.opened(screen) as given_functions:
        options = TurnOptions(given_functions, str(display.context_end), display.commands)
        file, conversation = start.conversation(saved.resume, saved.session, first.system)
        code = start.run(screen, conversation, file, options)
    raise typer.Exit(code)
