"""What a model is asked, and where its answer goes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from ...errors import UsageError
from ...text import shown
from ..choices import Overflow
from ..option_groups import SETTING, OptionGroup, Settled, option, parameter, positional, setting

if TYPE_CHECKING:
    from ...chat_format.prompt import Prompt as ModelPrompt
    from ...chat_format.prompt import TextFile
    from ...generation.session import Session
    from .sampling import AnswerLimits


def text_or_stdin(metavar: str, what: str) -> Any:
    """An argument that is a text, and may come from stdin."""
    added = "- reads it from stdin. Text piped to stdin is added after it. Default: stdin."
    return positional(metavar, f"{what}; {added}")


Prompt = Annotated[str | None, text_or_stdin("PROMPT", "The prompt")]
System = Annotated[
    str | None,
    parameter("-s --system TEXT", "System prompt. Default: none, unless the chat template has one."),
    SETTING,
]
Template = Annotated[
    str | None,
    parameter("--template NAME|FILE", "Chat template: a built-in name or a Jinja file. Default: the model's."),
    SETTING,
]
OutputFile = Annotated[Path | None, parameter("-o --output FILE", "Write to this file once complete. Default: stdout.")]
Force = Annotated[bool, parameter("--force", "Overwrite the file of -o if it exists.")]
PromptCache = Annotated[
    str,
    parameter(
        "--prompt-cache auto|off|FILE",
        "Keep processed prompts on disk, so that the same beginning is not processed again.",
    ),
    SETTING,
]


RecordFile = Annotated[Path, positional("FILE", "A record that llmlocal run --record wrote.")]


class PromptOptions(Settled):
    """How a prompt is made."""

    file: list[Path] | None = option("-f --file FILE", "Put this text file before the prompt; may be repeated.")
    system: System = None
    raw: bool = option("--raw", "Text completion: send the prompt as it is, without a chat template.", default=False)
    template: Template = None
    template_arg: list[str] | None = option(
        "--template-arg KEY=VALUE",
        "Set a variable of the chat template, such as reasoning_effort=high; VALUE is JSON or a text; may be repeated.",
    )
    special: bool = option(
        "--special", "Special tokens that are written in the prompt count. Default: they are text.", default=False
    )
    fim: tuple[str, str] | None = option(
        "--fim PREFIX SUFFIX", "Fill in what stands between two texts, by the model's tokens for that."
    )
    overflow: Overflow = setting(
        "--overflow",
        "A prompt that is longer than the context: error refuses it, middle leaves out its middle.",
        default=Overflow.error,
    )
    show_only: bool = option(
        "--show-prompt", "Print the formatted prompt and its token ids, and do not run the model.", default=False
    )

    @property
    def needs_text(self) -> bool:
        """Whether a prompt must be given besides."""
        return not (self.file or self.fim)

    @property
    def asks_nothing(self) -> bool:
        """Whether there is no sign of a single prompt."""
        ours = {name: getattr(self, name) for name in ("system", "template", *self.settled)}
        return self == PromptOptions(**ours)

    @property
    def alone(self) -> dict[str, bool]:
        """Options that functions cannot go with, and whether they are given."""
        middle = self.overflow is Overflow.middle and "overflow" not in self.settled
        given = {"--raw": self.raw, "--fim": self.fim is not None, "--special": self.special}
        return {**given, "--overflow middle": middle}

    @property
    def notes(self) -> list[str]:
        """What is said when the prompt is made."""
        return ["special tokens that are written in the prompt count (--special)"] if self.special else []

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the chat template. Raises UsageError for one without a name."""
        return dict(_variable(text) for text in self.template_arg or ())

    def checked(self, question: str | None) -> Self:
        """The options that apply: --raw and --fim leave out the system prompt and the template of the user's settings.

        Raises UsageError for what cannot be combined, before a model is opened.
        """
        left_out = self.settled & {"system", "template"} if self.raw or self.fim else ()
        values: dict[str, Any] = dict.fromkeys(left_out)
        own = self.replace(**values)
        others = own.file or own.system or own.template or own.template_arg or own.raw or question
        if own.fim is not None and others:
            raise UsageError("--fim is the whole prompt: nothing else can be given", "leave out the rest")
        own.variables  # noqa: B018  # raises
        return own

    def most_bytes(self, session: Session) -> int:
        """The largest size in bytes of a text that is read."""
        from ...generation.session import MOST_TEXT

        return MOST_TEXT if self.overflow is Overflow.middle else session.most_bytes

    def prompt(self, session: Session, question: bytes, files: Sequence[TextFile], limits: AnswerLimits) -> ModelPrompt:
        """The prompt for a model. Raises as `Session.prompt`, `fill_in` and `fitted`."""
        from ...chat_format.prompt import PromptRequest, fill_in
        from ...generation.overflow import fitted, smaller

        if self.fim is not None:
            before, after = (os.fsencode(text) for text in self.fim)
            session.check_size(before, after)
            return fill_in(before, after, session.tokenizer)
        if cut := self.overflow is Overflow.middle:
            question, files = smaller(question, files, session.most_bytes)
        given = (question, self.system, files, self.raw, self.template)
        request = PromptRequest(*given, limits.think.value, self.variables, self.special)
        ready = session.prompt(request)
        return ready if self.show_only and not cut else fitted(ready, session, limits.max_tokens, cut=cut)


def _variable(text: str) -> tuple[str, Any]:
    name, divided, value = text.partition("=")
    if not (name and divided):
        raise UsageError(f"--template-arg {shown(text)}: must be KEY=VALUE", "such as reasoning_effort=high")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


class AnswerFile(OptionGroup):
    """Where an answer goes."""

    output: OutputFile = None
    record: Path | None = option("--record FILE", "Write a record for llmlocal replay to this file. Default: none.")
    force: bool = option("--force", "Overwrite the files of -o and --record if they exist.", default=False)
