"""`llmlocal run`: answers one prompt."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .. import choices
from ..chat.single_answer import single_answer
from ..open_model import Asked, answered, chosen, named_or_guide, opened
from ..options.chats import ChatDisplay, FirstTurn, FunctionCalls, SavedSession, WrapLines
from ..options.engine import DecoderOptions
from ..options.forms import AnswerForm, AnswerOutput
from ..options.models import ModelOrQuestion
from ..options.prompts import AnswerFile, Prompt, PromptCache, PromptOptions
from ..options.report import Json, NoNewline, NoStdin, Quiet, Verbose
from ..options.sampling import AnswerLimits, Sampling
from ..text_input import files_source, prompt_source
from ..ui import terminal
from ..ui.answer import AnswerScreen
from ..ui.keyboard import interactive
from ..views.answers import Form, Target, deliver, show_prompt


def run(
    model: ModelOrQuestion = None,
    prompt: Prompt = None,
    *,
    asked: PromptOptions,
    limits: AnswerLimits,
    form: AnswerForm,
    out: AnswerOutput,
    sampling: Sampling,
    calls: FunctionCalls,
    model_options: DecoderOptions,
    prompt_cache: PromptCache = "auto",
    answer: AnswerFile,
    as_json: Json = False,
    no_newline: NoNewline = False,
    no_stdin: NoStdin = False,
    wrap: WrapLines = choices.Wrapping.on,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Answer a prompt with a model.

    Only the answer goes to stdout, and a final line feed unless --no-newline or --raw -q is given. A model without a
    chat template continues the text. Without a prompt, a terminal gets a chat.

    \b
    Examples: llmlocal run qwen3-0.6b "Why is the sky blue?"
              llmlocal run qwen3-0.6b "Alice is 31." --schema "name, age int"
              cat notes.txt | llmlocal run model.gguf "Summarize this." -n 100
    """
    explicit = not asked.asks_nothing or as_json or answer.output or out != AnswerOutput()
    if prompt is None and isinstance(model, Path) and not explicit and interactive() and not no_stdin:
        from ..config.sources import Sources
        from .chat import chat

        terminal.tell_person("no prompt given: this is a chat, as llmlocal chat opens it")
        return chat(
            model,
            first=FirstTurn(system=asked.system, template=asked.template, settled=asked.settled),
            limits=limits,
            form=form,
            sampling=sampling,
            model_options=model_options,
            saved=Sources().group(SavedSession, model_options.preset),
            calls=calls,
            display=Sources().group(ChatDisplay, model_options.preset, wrap=wrap),
            prompt_cache=prompt_cache,
            quiet=quiet,
            verbose=verbose,
        )
    given, best, given_out = sampling.given(), out.best(as_json=as_json), Form(form.requested(), out.partial, out.block)
    model, question = named_or_guide(model, prompt, quiet=quiet)
    inputs = [model, *(asked.file or ()), *([Path(asked.template)] if asked.template else [])]
    target = Target(answer.output, as_json, answer.force, inputs, answer.record)
    asked = asked.checked(question)
    calls.check({**asked.alone, "--logprobs": best is not None, "--record": answer.record is not None})
    read = prompt_source(question, use_stdin=not (no_stdin or asked.fim), needed=asked.needs_text, quiet=quiet)
    screen = AnswerScreen(
        whole_lines=not (no_newline or (asked.raw and quiet)),
        wrap=wrap is choices.Wrapping.on,
        quiet=quiet,
        verbose=verbose,
    )
    read_files = files_source(asked.file or ())
    screen.busy("opening the model")
    with (
        screen,
        calls.opened(screen) as functions,
        opened(model, model_options, prompt_cache, ahead=not asked.show_only) as session,
    ):
        screen.clear()  # stdin may be waited for
        texts = read_files(asked.most_bytes(session)), read(asked.most_bytes(session))
        how = Asked(limits, chosen(session, given), given_out.grammar, best)
        answering = single_answer(
            session,
            asked,
            texts,
            how,
            functions,
            screen,
            partial(answered, session, asked=how, record=answer.record, model_options=model_options),
            as_json=as_json,
        )
        screen.notes([*session.notes, *answering.prompt.notes, *asked.notes])
        if asked.show_only:
            return show_prompt(answering.prompt, target, model)
        screen.busy("loading the model")
        deliver(screen, answering.events(), target, model, given_out, answering.left)
