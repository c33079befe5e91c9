"""`llmlocal ask`: decides between yes and no, or between options."""

from __future__ import annotations

import typer

from ..open_model import opened
from ..options.decisions import AskedQuestion, DecisionOptions, QuestionContext
from ..options.engine import ModelOptions
from ..options.models import Model
from ..options.prompts import PromptCache
from ..options.report import Json, NoStdin, Quiet
from ..text_input import files_source, prompt_source
from ..ui import terminal
from ..views.decision import options_of, shown_decision


def ask(
    model: Model,
    question: AskedQuestion = None,
    *,
    wanted: DecisionOptions,
    context: QuestionContext,
    model_options: ModelOptions,
    prompt_cache: PromptCache = "auto",
    as_json: Json = False,
    no_stdin: NoStdin = False,
    quiet: Quiet = False,
) -> None:
    """Decide between yes and no, or between options.

    Nothing is sampled: the model reads the question once, and the answer follows from the probabilities of the options.
    --json prints all of them.

    \b
    Examples: llmlocal ask qwen3-0.6b "Spam?" --yes-no < mail.txt && mv mail.txt spam/
              llmlocal ask qwen3-0.6b "What is it?" --options bug,idea -f note.txt
    """
    from ...chat_format.prompt import PromptRequest
    from ...generation.decision import decide, instruction

    ways = options_of(wanted.yes_no, wanted.options)
    terminal.check_stdout()
    read = prompt_source(question, use_stdin=not no_stdin, needed=not context.file, quiet=quiet)
    read_files = files_source(context.file or ())
    with opened(model, model_options, prompt_cache) as session:
        texts = read_files(session.most_bytes)
        asked = b"\n\n".join(filter(None, [read(session.most_bytes).rstrip(b"\n"), instruction(list(ways)).encode()]))
        request = PromptRequest(asked, context.system, texts, template=context.template, think="off")
        decision = decide(session, session.prompt(request), ways)
    likely = decision.probabilities["yes" if wanted.yes_no else decision.answer]
    answer = decision.answer if not wanted.yes_no else "yes" if likely >= wanted.limit else "no"
    terminal.say(shown_decision(decision, answer, model, as_json=as_json))
    raise typer.Exit(int(likely < wanted.limit))
