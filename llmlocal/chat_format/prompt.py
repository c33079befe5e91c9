"""What a model is to read: a conversation in its chat template, or a text as it is. Knows no engine and no terminal.

Texts of users and files never make special tokens; only a template's own text does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..text import escaped
from ..tokenizer import Tokenizer
from .chat_template import ChatTemplate, choose
from .thinking import COMMON, Think, ThinkingStyle, can_think, style_of, switches

BASE_NOTE = "the model has no chat template: the text is continued as it is (--template names a template)"


@dataclass(frozen=True, slots=True)
class Prompt:
    """`text` and its tokens exactly as the model gets them. `notes` are for the user.

    `continues`: the answer goes on in the middle of a text, so that a space before it counts. `chat`: a template wrote
    it; then `style` is how the model thinks aloud, and `opened` says that the prompt ends within a thought.
    """

    text: str
    ids: list[int]
    continues: bool
    notes: tuple[str, ...] = ()
    chat: bool = False
    style: ThinkingStyle = COMMON
    opened: bool = False


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file to be read with a question; bytes that are not UTF-8 are kept."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """What is asked of a model once. `raw`: without a template; `template`: a name or path instead of the model's."""

    question: bytes
    system: str | None = None
    files: Sequence[TextFile] = ()
    raw: bool = False
    template: str | None = None
    think: Think = "auto"


def prompt(request: PromptRequest, tokenizer: Tokenizer, metadata: Mapping[str, Any]) -> Prompt:
    """The prompt for a request, in a template wherever there is one.

    Raises UsageError where the request has no meaning, BadFileError for a bad template, NotFoundError for an unknown.
    """
    if request.raw:
        if request.system is not None or request.template is not None:
            raise UsageError("--raw has no place for a system text or a template")
        return plain(
            b"\n".join([*(file.content for file in request.files), *filter(None, [request.question])]), tokenizer
        )
    template = choose(metadata, tokenizer, request.template)
    if template is None:
        if request.system is not None:
            hint = "--template NAME gives it one, such as chatml"
            raise UsageError("the model has no chat template, so no place for a system text", hint)
        return plain(with_files(request.files, request.question), tokenizer, BASE_NOTE)
    if not request.question and not request.files:
        raise UsageError("the prompt is empty", "give a text; --raw starts from nothing")
    messages = [{"role": "user", "content": _decoded(with_files(request.files, request.question))}]
    if request.system is not None:
        messages.insert(0, {"role": "system", "content": request.system})
    return conversation(messages, template, tokenizer, think=request.think)


def plain(text: str | bytes, tokenizer: Tokenizer, *notes: str) -> Prompt:
    """A text to be continued. Raises UsageError for an empty one where the model has nothing to start from."""
    text = _decoded(text) if isinstance(text, bytes) else text
    ids = tokenizer.encode(text)
    if not ids:
        raise UsageError("the prompt is empty, and this model has no BOS token to start from", "give a prompt")
    return Prompt(text, ids, bool(text), (*tokenizer.notes, *notes))


def conversation(
    messages: Sequence[Mapping[str, Any]],
    template: ChatTemplate,
    tokenizer: Tokenizer,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    think: Think = "auto",
) -> Prompt:
    """Messages up to where the model is to answer. Raises what `ChatTemplate.render` raises.

    Thinking is switched by the template's own variables; a thought that is not wanted and cannot be switched off there
    is closed before it begins.
    """
    rendered = template.render(messages, tools=tools, fold_system=True, **switches(template.source, think))
    notes = tuple(filter(None, [*tokenizer.notes, template.note, *rendered.notes]))
    text, ids = rendered.text, rendered.encode(tokenizer)
    end = rendered.segments[-1] if rendered.segments else None
    style = style_of(template.source, "" if end is None or end.from_user else end.text)
    opened = style.opened(text)
    if think == "off" and (opened or _cannot_switch(template, style)):
        closed = style.closing if opened else f"{style.opens}{style.closing}"
        text, ids, opened = text + closed, ids + marked(closed, tokenizer), False
    return Prompt(text, ids, False, notes, True, style, opened)


def marked(text: str, tokenizer: Tokenizer) -> list[int]:
    """Tokens of a text of ours whose tags are to be read as the special tokens that they are."""
    return tokenizer.encode(text, add_special=False, parse_special=True)


def _cannot_switch(template: ChatTemplate, style: ThinkingStyle) -> bool:
    """Whether a template knows of thoughts, but has no variable that turns them off."""
    return can_think(template.source) and not style.anywhere and not switches(template.source, "off")


def with_files(files: Sequence[TextFile], question: bytes) -> bytes:
    """The files, each between two lines with its name, and then the question."""
    parts = [
        b'<file name="%s">\n%s\n</file>'
        % (escaped(file.name).replace('"', "'").encode(), file.content.removesuffix(b"\n"))
        for file in files
    ]
    return b"\n\n".join([*parts, *filter(None, [question])])


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
