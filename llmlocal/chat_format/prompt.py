"""Builds prompts: a conversation in the model's chat template, or plain text.

Text of users and files never becomes special tokens; only a template's own text does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BadFileError, UsageError
from ..text import escaped, shown
from ..tokenizer import Tokenizer
from .chat_template import (
    ChatTemplate,
    Rendered,
    TemplateRefusedError,
    TemplateStoppedError,
    choose,
    suggested,
)
from .thinking import COMMON, EFFORT, Think, ThinkingStyle, can_think, style_of, switches

if TYPE_CHECKING:
    from .tool_use import ToolUse

RESERVED = ("messages", "tools", "documents", "add_generation_prompt")
BASE_NOTE = "the model has no chat template: it continues the plain text (--template {} wraps it)"


class Prompt(NamedTuple):
    """`text` and token `ids` exactly as the model gets them. `notes` are messages for the user.

    `continues`: the answer continues a text, so that its leading space counts. `chat`: rendered by a template; then
    `style` has the tags of the model's reasoning, `opened` says that the prompt ends within reasoning, and `may_think`
    that the model may begin with reasoning itself.
    """

    text: str
    ids: list[int]
    continues: bool
    notes: tuple[str, ...] = ()
    chat: bool = False
    style: ThinkingStyle = COMMON
    opened: bool = False
    may_think: bool = False

    @property
    def header(self) -> str:
        """What has to follow before the answer proper can begin, in families whose messages have headers."""
        return self._rest_of(self.style.after_thought)

    @property
    def call_header(self) -> str:
        """As `header`, before a call of a function."""
        return self._rest_of(self.style.before_call)

    def _rest_of(self, after: str) -> str:
        if not self.chat or not after.strip():
            return ""
        return next(after[n:] for n in range(len(after), -1, -1) if self.text.endswith(after[:n]))


class TextFile(NamedTuple):
    """A file to include in a prompt; bytes that are not UTF-8 are kept."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """The parts of a single prompt. `raw`: no template; `template`: a name or path that replaces the model's own.

    `variables` are the template's. `special`: special tokens that are written in texts count.
    """

    question: bytes
    system: str | None = None
    files: Sequence[TextFile] = ()
    raw: bool = False
    template: str | None = None
    think: Think = "auto"
    variables: Mapping[str, Any] = field(default_factory=dict)
    special: bool = False


def prompt(request: PromptRequest, tokenizer: Tokenizer, metadata: Mapping[str, Any]) -> Prompt:
    """The prompt for a request, rendered by a template where there is one.

    Raises UsageError for an invalid combination, BadFileError for a bad template, NotFoundError for an unknown one.
    """
    if request.raw:
        if request.system is not None or request.template is not None or request.variables:
            raise UsageError("--raw cannot be combined with a system prompt or a template")
        parts = [*(file.content for file in request.files), *filter(None, [request.question])]
        return plain(b"\n".join(parts), tokenizer, metadata, special=request.special)
    template = choose(metadata, tokenizer, request.template)
    if template is None:
        if request.system is not None:
            hint = "choose a template, for example --template chatml"
            hint = "write it into the prompt" if answers_apart(metadata) else hint
            raise UsageError("a system prompt needs a chat template, and the model has none", hint)
        name = suggested(metadata, tokenizer) or "NAME"
        if request.variables:
            raise UsageError("--template-arg needs a chat template, and the model has none", f"try --template {name}")
        text = with_files(request.files, request.question)
        notes = () if answers_apart(metadata) else (BASE_NOTE.format(name),)
        return plain(text, tokenizer, metadata, *notes, special=request.special)
    if not request.question and not request.files:
        raise UsageError("the prompt is empty", "give a prompt; --raw allows an empty one")
    messages = [{"role": "user", "content": _decoded(with_files(request.files, request.question))}]
    if request.system is not None:
        messages.insert(0, {"role": "system", "content": request.system})
    return conversation(
        messages,
        template,
        tokenizer,
        think=request.think,
        variables=request.variables,
        special=request.special,
    )


def plain(
    text: str | bytes, tokenizer: Tokenizer, metadata: Mapping[str, Any], *notes: str, special: bool = False
) -> Prompt:
    """A prompt of plain text. With `special`, special tokens that are written in it count.

    Raises UsageError for an empty text where the model has no BOS token.
    """
    text = _decoded(text) if isinstance(text, bytes) else text
    ids = tokenizer.encode(text, parse_special=special)
    if not ids:
        raise UsageError("the prompt is empty, and this model has no BOS token to start from", "give a prompt")
    return Prompt(text, ids, bool(text) and not answers_apart(metadata), (*tokenizer.notes_on(text), *notes))


def answers_apart(metadata: Mapping[str, Any]) -> bool:
    """Whether an encoder reads the prompt: what the model answers is a text of its own and continues nothing."""
    return f"{metadata.get('general.architecture')}.decoder_start_token_id" in metadata


def conversation(
    messages: Sequence[Mapping[str, Any]],
    template: ChatTemplate,
    tokenizer: Tokenizer,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    think: Think = "auto",
    effort: str | None = None,
    variables: Mapping[str, Any] | None = None,
    special: bool = False,
) -> Prompt:
    """The prompt for the model's next message. Raises what `ChatTemplate.render` and `check_can_think` raise.

    Thinking is switched by the template's variables; where the template cannot turn it off, the prompt ends with empty
    reasoning. `effort` is a word such as `low`, for templates that take one; `variables` are others, which the template
    must mention. With `special`, special tokens that are written in messages count. Raises UsageError.
    """
    if think == "on":
        check_can_think(template)
    chosen = switches(template.source, think) | ({EFFORT: effort} if effort and EFFORT in template.source else {})
    check_variables(template, variables or {})
    use = None
    if tools or any(message.get("tool_calls") for message in messages):
        from .tool_use import tool_use  # the notations of calls take 30 ms to import

        use = tool_use(template)
    render = partial(template.render, fit=True, **{**chosen, **(variables or {})})
    try:
        rendered = _with_functions(render, messages, tools, use)
    except TemplateStoppedError:
        raise
    except (BadFileError, TemplateRefusedError):
        if not tools or use is None or use.place == "text":
            raise
        use = use.as_text()
        rendered = _with_functions(render, messages, tools, use)
    text, ids = rendered.text, (_trusted(rendered) if special else rendered).encode(tokenizer)
    notes = tuple(filter(None, [*tokenizer.notes_on(text), *(use.notes if use else ()), *rendered.notes]))
    end = rendered.segments[-1] if rendered.segments else None
    style = style_of(template.source, "" if end is None or end.from_user else end.text)
    opened = style.opened(text)
    if think == "off" and (opened or _cannot_switch(template, style)):
        closed = style.closing if opened else f"{style.opens}{style.closing}"
        text, ids, opened = text + closed, ids + marked(closed, tokenizer), False
    may_think = think != "off" and not opened and can_think(template.source)
    return Prompt(text, ids, False, notes, True, style, opened, may_think)


def _with_functions(
    render: Callable[..., Rendered],
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    use: ToolUse | None,
) -> Rendered:
    """The messages, with functions where `use` declares them; some templates need a list of them, if an empty one."""
    if use is None:
        return render(messages, tools=tools)
    return render(use.messages(messages, tools), tools=tools if use.place == "variable" else [])


def check_variables(template: ChatTemplate, variables: Mapping[str, Any]) -> None:
    """Raises UsageError for a variable that is not the user's to set, or that a template does not mention."""
    for name in variables:
        if not name.isidentifier() or name in RESERVED:
            raise UsageError(f"{shown(name)} cannot be set as a variable of the template")
        if name not in template.source:
            raise UsageError(f"{template.name} has no variable {shown(name)}", "llmlocal show MODEL --template")


def _trusted(rendered: Rendered) -> Rendered:
    """As if all of it were the template's own text."""
    return rendered._replace(segments=tuple(segment._replace(from_user=False) for segment in rendered.segments))


def fill_in(prefix: bytes, suffix: bytes, tokenizer: Tokenizer) -> Prompt:
    """The prompt for what stands between two texts. Raises UsageError where the model has no tokens for that."""
    ends = [tokenizer.vocab.special.get(name) for name in ("fim_pre", "fim_suf", "fim_mid")]
    if None in ends:
        raise UsageError("the model has no tokens to fill in the middle of a text", "choose a model made for code")
    before, after = (_decoded(text) for text in (prefix, suffix))
    texts = [tokenizer.encode(text, add_special=False, continues=True) for text in (before, after)]
    start, middle, end = (id for id in ends if id is not None)
    lead = [tokenizer.bos_id] if tokenizer.vocab.add_bos and tokenizer.bos_id is not None else []
    ids = [*lead, start, *texts[0], middle, *texts[1], end]
    return Prompt(
        "".join(tokenizer.decode([id], special=True) for id in ids),
        ids,
        True,
        tuple(tokenizer.notes_on(before + after)),
    )


def check_can_think(template: ChatTemplate) -> None:
    """Raises UsageError for a template that has no thinking to turn on."""
    if not can_think(template.source):
        raise UsageError(f"{template.name} has no thinking to turn on", "auto leaves it to the model (--think auto)")


def marked(text: str, tokenizer: Tokenizer) -> list[int]:
    """Token ids of trusted text, in which tags become special tokens."""
    return tokenizer.encode(text, add_special=False, parse_special=True)


def _cannot_switch(template: ChatTemplate, style: ThinkingStyle) -> bool:
    """Whether a template supports thinking but has no variable that turns it off."""
    return can_think(template.source) and not style.anywhere and not switches(template.source, "off")


def with_files(files: Sequence[TextFile], question: bytes) -> bytes:
    """The files, each between <file name="..."> and </file>, followed by the question."""
    parts = [
        b'<file name="%s">\n%s\n</file>'
        % (escaped(file.name).replace('"', "'").encode(), file.content.removesuffix(b"\n"))
        for file in files
    ]
    return b"\n\n".join([*parts, *filter(None, [question])])


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
