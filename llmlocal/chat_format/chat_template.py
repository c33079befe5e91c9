"""A conversation as one prompt: the model's own template, or a built-in one. Knows no model and no terminal.

Every character of a rendered prompt is known to come from the template or from what it was given (messages, tools,
documents). Only the template's own text can make special tokens. jinja2 is loaded when the first template is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import CodeType
from typing import Any

from ..errors import BadFileError, LlmlocalError, UsageError
from ..tokenizer import Tokenizer
from ..tokenizer.special import partition
from . import templates
from .sandbox.budget import Budget, OverBudgetError
from .sandbox.origin import mark_user, runs

KEY = "tokenizer.chat_template"
MAX_SOURCE = 64 << 10  # characters; the longest of real ones has 17 thousand
SPECIAL_NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
REASONING = ("reasoning_content", "thinking", "reasoning")  # names that one thing goes by
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
HOLE = "\ufdd0"  # no character: it stands for one that must not be read as part of a special token
HOLES = re.compile(f"{HOLE}+")
HIDDEN = re.compile(r"[^ \t\n\v\f\r]+")  # blanks stay, as special tokens may swallow them
SHOWN_LENGTH = 300
HINT = "choose another template with --template"

Message = Mapping[str, Any]


class TemplateRefusedError(UsageError):
    """The template raised an error of its own: it does not take this conversation."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a prompt. `from_user`: given with the messages, tools or documents, not the template's own."""

    text: str
    from_user: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt with the origin of its parts, and notes for people on what was done to fit the template."""

    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Exactly what the template wrote."""
        return "".join(segment.text for segment in self.segments)

    def encode(self, tokenizer: Tokenizer) -> list[int]:
        """Token ids: special tokens from the template's own text only, BOS once where the model or template wants it.

        What lies between two special tokens is encoded as one text, whatever its origin.
        """
        hidden: list[str] = []

        def hide(found: re.Match[str]) -> str:
            hidden.append(found[0])
            return HOLE * len(found[0])

        masked = "".join((HIDDEN if part.from_user else HOLES).sub(hide, part.text) for part in self.segments)
        stored, at = "".join(hidden), 0

        def show(found: re.Match[str]) -> str:
            nonlocal at
            at += len(found[0])
            return stored[at - len(found[0]) : at]

        control = [special for special in tokenizer._specials if not special.always]
        ids: list[int] = []
        for part in partition(masked, control, parse_special=True):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += tokenizer.encode(HOLES.sub(show, part), add_special=False)
        return _with_one_bos(ids, tokenizer)


class ChatTemplate:
    """A Jinja template that turns messages into a prompt; `special_tokens` are variables such as bos_token.

    `name` and `note` are for people: which template it is, and what they should know about the choice.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        *,
        name: str = "the chat template",
        note: str = "",
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        if len(source) > MAX_SOURCE:
            raise BadFileError(f"{name} has {len(source)} characters, more than {MAX_SOURCE}", HINT)
        self.source, self.name, self.note = source, name, note
        self._special_tokens, self._now = dict(special_tokens), now
        self._code: CodeType | None = None

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        add_generation_prompt: bool = True,
        fold_system: bool = False,
        **variables: Any,
    ) -> Rendered:
        """The prompt for `messages`, exactly as transformers renders it.

        `fold_system` puts a system prompt that the template refuses or leaves out into the first user's message, and
        notes it. Raises TemplateRefusedError where the template refuses the messages, BadFileError where it is wrong,
        hostile or endless.
        """
        rest = {**variables, "tools": tools, "documents": documents, "add_generation_prompt": add_generation_prompt}
        folded = _folded(messages) if fold_system else None
        if folded is None:
            return self._rendered(messages, rest)
        try:
            rendered = self._rendered(messages, rest)
        except TemplateRefusedError:
            fitted = self._attempt(folded, rest)
            if fitted is None:
                raise
        else:
            if not self._leaves_out_system(rendered, messages, rest):
                return rendered
            fitted = self._rendered(folded, rest)
        note = "the model's chat template has no system prompt: it was put before the first message"
        return replace(fitted, notes=(note,))

    def _leaves_out_system(self, rendered: Rendered, messages: Sequence[Message], rest: Mapping[str, Any]) -> bool:
        if str(messages[0]["content"]).strip() in rendered.text:
            return False
        without = self._attempt(messages[1:], rest)
        return without is not None and without.text == rendered.text

    def _attempt(self, messages: Sequence[Message], rest: Mapping[str, Any]) -> Rendered | None:
        try:
            return self._rendered(messages, rest)
        except LlmlocalError:
            return None

    def _rendered(self, messages: Sequence[Message], rest: Mapping[str, Any]) -> Rendered:
        from .sandbox.environment import Sandbox, TemplateRaisedError, compiled

        try:
            given: dict[str, Any] = {"messages": [_message(message) for message in messages]}
            given |= {name: _word(value) or _given(value) for name, value in rest.items()}
            self._code = self._code or compiled(self.source)
            text = Sandbox(Budget(given), self._now).run(self._code, {**self._special_tokens, **given})
        except TemplateRaisedError as error:
            said = one_line(str(error))
        except (OverBudgetError, OverflowError) as error:
            raise BadFileError(f"{self.name} was stopped: {error}", HINT) from None
        except Exception as error:  # anything can come out of a foreign program
            raise BadFileError(f"{self.name} {_failure(error)}", HINT) from None
        else:
            return Rendered(tuple(Segment(*run) for run in runs(text)))
        raise TemplateRefusedError(f"{self.name} refuses these messages: {said}")


def special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """The variables bos_token, eos_token, ... that templates expect, for those that the vocabulary has."""
    ids = tokenizer.vocab.special
    return {f"{name}_token": tokenizer.token_text(ids[name]) for name in SPECIAL_NAMES if name in ids}


def variants(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The templates in a file by name, "default" for the one without; blank ones are none. Raises BadFileError."""
    found = {key.removeprefix(KEY + "."): value for key, value in metadata.items() if key.startswith(KEY + ".")}
    found |= {"default": metadata[KEY]} if KEY in metadata else {}
    for name, source in found.items():
        if not isinstance(source, str):
            raise BadFileError(f"{KEY} ({one_line(name)}) is no text")
    return {name: source for name, source in found.items() if source.strip()}


def choose(
    metadata: Mapping[str, Any], tokenizer: Tokenizer, wanted: str | None = None, *, tools: bool = False
) -> ChatTemplate | None:
    """The template to chat with: `wanted` (a name in the file, a built-in one, or a path), else the file's own.

    With `tools`, the file's "tool_use" where it has one. A file without any gets a built-in one that its vocabulary
    hints at, with a note; None where nothing does. Raises NotFoundError and BadFileError.
    """
    own, variables = variants(metadata), special_tokens(tokenizer)
    if wanted is not None:
        source = own.get(wanted) or templates.resolve(wanted, MAX_SOURCE)
        return ChatTemplate(source, variables, name=f"the template {one_line(wanted)}")
    name = next((name for name in ("tool_use",) * tools + ("default",) if name in own), None)
    if name is not None:
        return ChatTemplate(own[name], variables, name="the model's chat template")
    guess = templates.guess(tokenizer.vocab.ids, str(metadata.get("general.name", "")))
    if guess is None:
        return None
    note = f"the file has no chat template: {guess} is used, going by its vocabulary; --template names another"
    return ChatTemplate(templates.source(guess), variables, name=f"the template {guess}", note=note)


def one_line(text: str) -> str:
    """Foreign text in one line that does nothing to a terminal."""
    line = "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in text[:SHOWN_LENGTH])
    return " ".join(line.split()) + "..." * (len(text) > SHOWN_LENGTH)


def _with_one_bos(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    bos = tokenizer.bos_id
    start = tokenizer.vocab.prefix_and_suffix()[0]
    if ids[: len(start)] != start:
        ids = start + ids
    while bos is not None and ids[:2] == [bos, bos]:
        del ids[0]
    return ids


def _message(message: Message) -> dict[str, Any]:
    """A message as templates get it, its reasoning by every name that one of them reads."""
    given: dict[str, Any] = _given(message)
    reasoning = next((given[name] for name in REASONING if given.get(name) is not None), None)
    if reasoning is not None:
        given = {"thinking": reasoning, **given, "reasoning_content": reasoning}
    role = _word(message.get("role"))
    return given | ({"role": role} if role else {})


def _word(value: object) -> str | None:
    """`value` where it is a single word, such as a role. Templates make special tokens of those: <|user|>."""
    return str(value) if isinstance(value, str) and WORD.fullmatch(value) else None


def _given(value: Any) -> Any:
    """Plain data out of `value`, its text marked as given; what is no plain data becomes <its type>."""
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, str):
        return mark_user(value)
    if isinstance(value, Mapping):
        return {_given(key): _given(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = map(_given, value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    return f"<{type(value).__name__}>"


def _folded(messages: Sequence[Message]) -> list[Message] | None:
    """The messages with the system prompt in front of the first user's text; None where there is nothing to fold."""
    roles = [message.get("role") for message in messages]
    if roles[:1] != ["system"] or "user" not in roles or not isinstance(messages[0].get("content"), str):
        return None
    at = roles.index("user")
    system, content = messages[0]["content"], messages[at].get("content")
    if isinstance(content, str):
        content = f"{system}\n\n{content}"
    else:
        content = [{"type": "text", "text": system}, *(content or ())]
    return [*messages[1:at], {**messages[at], "content": content}, *messages[at + 1 :]]


def _failure(error: Exception) -> str:
    """What went wrong in a template, for people."""
    from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError

    said = one_line(str(error))
    if isinstance(error, TemplateSyntaxError):
        return f"has a mistake in line {error.lineno}: {said}"
    if isinstance(error, SecurityError):
        return f"was stopped, as it reaches for more than text: {said}"
    if isinstance(error, (RecursionError, MemoryError, SyntaxError)):
        return "is nested too deeply"
    if isinstance(error, UndefinedError):
        return f"uses what is not there: {said}"
    return f"failed: {said or type(error).__name__}"
