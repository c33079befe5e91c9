"""Renders a conversation to a prompt with the model's own chat template or a built-in one.

The origin of every character of a rendered prompt is tracked: the template, or its input (messages, tools, documents).
Only the template's own text can become special tokens. jinja2 is imported when the first template is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import thread_time
from types import CodeType
from typing import Any, NamedTuple

from ..errors import BadFileError, LlmlocalError, UsageError
from ..tokenizer import Tokenizer
from . import templates
from .sandbox.budget import Budget, OverBudgetError
from .sandbox.origin import Marked, mark_user, runs

KEY = "tokenizer.chat_template"
MAX_SOURCE = 64 << 10  # characters; the longest real template has 17,000
SPECIAL_NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
REASONING = ("reasoning_content", "thinking", "reasoning")  # message keys for reasoning, all with the same meaning
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
HOLE = "\ufdd0"  # a noncharacter: replaces characters that must not be parsed as part of a special token
HOLES = re.compile(f"{HOLE}+")
HIDDEN = re.compile(r"[^ \t\n\v\f\r]+")  # whitespace stays, since special tokens may strip it
SHOWN_LENGTH = 300
HINT = "choose another template with --template"

Message = Mapping[str, Any]


class TemplateRefusedError(UsageError):
    """The template itself raised an error: it does not accept this conversation."""


class TemplateStoppedError(BadFileError):
    """The template exceeded its budget."""


class Segment(NamedTuple):
    """A part of a prompt. `from_user`: from the messages, tools or documents, not from the template itself."""

    text: str
    from_user: bool


class Rendered(NamedTuple):
    """A rendered prompt with the origin of its parts; `notes` tell the user what was changed to fit the template."""

    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The rendered text, exactly as the template produced it."""
        return "".join(segment.text for segment in self.segments)

    def encode(self, tokenizer: Tokenizer, *, add_bos: bool = True) -> list[int]:
        """Token ids: special tokens only from the template's own text, BOS once where model or template add it.

        Without `add_bos` only the template may add BOS. The text between two special tokens is encoded as a whole,
        whatever its origin.
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

        ids: list[int] = []
        for part in tokenizer.special_tokens.split(masked, user_defined=False):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += tokenizer.encode(HOLES.sub(show, part), add_special=False)
        return _with_one_bos(ids, tokenizer) if add_bos else ids


class ChatTemplate:
    """A Jinja template that renders messages to a prompt; `special_tokens` are variables such as bos_token.

    `name` is for messages: which template this is.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        *,
        name: str = "the chat template",
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        if len(source) > MAX_SOURCE:
            raise BadFileError(f"{name} has {len(source)} characters, more than {MAX_SOURCE}", HINT)
        self.source, self.name = source, name
        self._special_tokens, self._now = dict(special_tokens), now
        self._code: CodeType | None = None
        self._start: float | None = None  # processor time at the first of several attempts to fit the messages

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        add_generation_prompt: bool = True,
        fit: bool = False,
        **variables: Any,
    ) -> Rendered:
        """The prompt for `messages`, exactly as transformers renders it.

        `fit` adapts the messages to the template: texts become lists of parts where it reads only those, and a system
        prompt that it refuses or ignores moves into the first user message, with a note. Then TemplateRefusedError is
        also raised where the template leaves out the last user message; a note names earlier ones.

        Raises TemplateRefusedError where the template rejects the messages, TemplateStoppedError where it
        exceeds its budget, BadFileError where it is invalid or does something forbidden.
        """
        rest = {**variables, "tools": tools, "documents": documents, "add_generation_prompt": add_generation_prompt}
        self._start = None
        return self._fitted(messages, rest) if fit else self._rendered(messages, rest)

    def _fitted(self, messages: Sequence[Message], rest: Mapping[str, Any]) -> Rendered:
        failure, whole = None, None
        try:
            whole = self._with_system(messages, rest)
        except TemplateStoppedError:
            raise
        except LlmlocalError as error:
            failure = error
        left_out = self._left_out(whole, messages, rest) if whole else []
        if whole and not left_out:
            return whole
        parts = [_in_parts(message) for message in messages]
        in_parts = self._attempt(parts, rest, self._with_system)
        if in_parts is not None:
            still = self._left_out(in_parts, parts, rest)
            if whole is None or len(still) < len(left_out):
                whole, left_out = in_parts, still
        if whole is None:
            assert failure is not None
            raise failure
        if not left_out:
            return whole
        last = max(i for i, message in enumerate(messages) if message.get("role") == "user")
        numbers = ", ".join(str(i + 1) for i in left_out)
        said = f"{self.name} leaves out what the user says: message {numbers} of {len(messages)} is not in the prompt"
        if last in left_out:
            raise TemplateRefusedError(said, HINT)
        return whole._replace(notes=(*whole.notes, said))

    def _with_system(self, messages: Sequence[Message], rest: Mapping[str, Any]) -> Rendered:
        """The prompt, with the system prompt in the first user message where the template has no place for it."""
        folded = _folded(messages)
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
        note = "the model's chat template does not support a system prompt; it was put before the first message"
        return fitted._replace(notes=(note,))

    def _leaves_out_system(self, rendered: Rendered, messages: Sequence[Message], rest: Mapping[str, Any]) -> bool:
        if _shows(rendered, messages[0], messages):
            return False
        without = self._attempt(messages[1:], rest)
        return without is not None and without.text == rendered.text

    def _left_out(self, rendered: Rendered, messages: Sequence[Message], rest: Mapping[str, Any]) -> list[int]:
        """Indices of user messages whose text is not in the prompt, in whatever form the template writes texts."""
        missing = [
            i
            for i, message in enumerate(messages)
            if message.get("role") == "user" and not _shows(rendered, message, messages)
        ]
        if not missing:
            return []
        # The template may have changed the text (quoted, in capitals, ...): words in its place show whether it is used.
        words = {i: f"word{i}end" for i in missing}
        probe = [_with_text(message, words[i]) if i in words else message for i, message in enumerate(messages)]
        probed = self._attempt(probe, rest, self._with_system)
        return [i for i in missing if probed is None or words[i] not in probed.text.lower()]

    def _attempt(
        self,
        messages: Sequence[Message],
        rest: Mapping[str, Any],
        render: Callable[[Sequence[Message], Mapping[str, Any]], Rendered] | None = None,
    ) -> Rendered | None:
        try:
            return (render or self._rendered)(messages, rest)
        except TemplateStoppedError:
            raise
        except LlmlocalError:
            return None

    def _rendered(self, messages: Sequence[Message], rest: Mapping[str, Any]) -> Rendered:
        from .sandbox.environment import Sandbox, TemplateRaisedError, compiled

        try:
            given: dict[str, Any] = {"messages": [_message(message) for message in messages]}
            given |= {name: _word(value) or _given(value) for name, value in rest.items()}
            self._start = thread_time() if self._start is None else self._start
            self._code = self._code or compiled(self.source)
            text = Sandbox(Budget(given, self._start), self._now).run(self._code, {**self._special_tokens, **given})
        except TemplateRaisedError as error:
            said = one_line(str(error))
        except (OverBudgetError, OverflowError) as error:
            raise TemplateStoppedError(f"{self.name} was stopped: {error}", HINT) from None
        except Exception as error:  # an untrusted template can raise anything
            raise BadFileError(f"{self.name} {_failure(error)}", HINT) from None
        else:
            return Rendered(tuple(Segment(*run) for run in runs(text)))
        raise TemplateRefusedError(f"{self.name} rejects these messages: {said}")


def special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """The variables bos_token, eos_token, ... that templates expect, for those that the vocabulary has."""
    ids = tokenizer.vocab.special
    return {f"{name}_token": tokenizer.token_text(ids[name]) for name in SPECIAL_NAMES if name in ids}


def variants(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The templates in a file by name ("default" for the unnamed one), blank ones left out. Raises BadFileError."""
    found = {key.removeprefix(KEY + "."): value for key, value in metadata.items() if key.startswith(KEY + ".")}
    found |= {"default": metadata[KEY]} if KEY in metadata else {}
    for name, source in found.items():
        if not isinstance(source, str):
            raise BadFileError(f"{KEY} ({one_line(name)}) is not a string")
    return {name: source for name, source in found.items() if source.strip()}


def choose(
    metadata: Mapping[str, Any], tokenizer: Tokenizer, wanted: str | None = None, *, tools: bool = False
) -> ChatTemplate | None:
    """The chat template: `wanted` (a name in the file, a built-in template, or a path), otherwise the file's own.

    With `tools`, the file's "tool_use" template where it has one. None for a file without templates: its model was
    perhaps never taught to chat. Raises NotFoundError, BadFileError.
    """
    own, variables = variants(metadata), special_tokens(tokenizer)
    if wanted is not None:
        source = own.get(wanted) or templates.resolve(wanted, MAX_SOURCE)
        return ChatTemplate(source, variables, name=f"the template {one_line(wanted)}")
    name = next((name for name in ("tool_use",) * tools + ("default",) if name in own), None)
    if name is not None:
        return ChatTemplate(own[name], variables, name="the model's chat template")
    return None


def suggested(metadata: Mapping[str, Any], tokenizer: Tokenizer) -> str | None:
    """The built-in template that a model without one may have been trained with, by its vocabulary or name."""
    return templates.guess(tokenizer.vocab.ids, str(metadata.get("general.name", "")))


def one_line(text: str) -> str:
    """Untrusted text on one line, without control characters, cut after SHOWN_LENGTH characters."""
    line = "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in text[:SHOWN_LENGTH])
    return " ".join(line.split()) + "..." * (len(text) > SHOWN_LENGTH)


def _shows(rendered: Rendered, message: Message, messages: Sequence[Message]) -> bool:
    """Whether a prompt has the text of one of the messages, as often as they have it.

    Words of the template's own, such as the names of roles, do not count.
    """
    text = _text(message).strip()
    given = "\0".join(segment.text for segment in rendered.segments if segment.from_user)
    return not text or given.count(text) >= sum(_text(each).count(text) for each in messages)


def _with_one_bos(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    bos = tokenizer.bos_id
    start = tokenizer.vocab.prefix_and_suffix()[0]
    if ids[: len(start)] != start:
        ids = start + ids
    while bos is not None and ids[:2] == [bos, bos]:
        del ids[0]
    return ids


def _message(message: Message) -> dict[str, Any]:
    """A message as passed to templates, its reasoning under all names that templates read."""
    given: dict[str, Any] = _given(message)
    reasoning = next((given[name] for name in REASONING if given.get(name) is not None), None)
    if reasoning is not None:
        given = {"thinking": reasoning, **given, "reasoning_content": reasoning}
    role = _word(message.get("role"))
    return given | ({"role": role} if role else {})


def _word(value: object) -> str | None:
    """`value` where it is a single word such as a role, from which templates make special tokens: <|user|>."""
    return str(value) if isinstance(value, str) and WORD.fullmatch(value) else None


def _given(value: Any) -> Any:
    """`value` as plain data, its text marked as input if it has no marks; other objects become <type name>."""
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, str):
        return value if isinstance(value, Marked) else mark_user(value)
    if isinstance(value, Mapping):
        return {_given(key): _given(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = map(_given, value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    return f"<{type(value).__name__}>"


def _text(message: Message) -> str:
    """The text of a message, that of its parts joined."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))


def _with_text(message: Message, text: str) -> Message:
    """The message with another text, in the form that its own has: a string, or a part of that type."""
    content = message.get("content")
    return {**message, "content": text if isinstance(content, str) else [{"type": "text", "text": text}]}


def _in_parts(message: Message) -> Message:
    """The message with its text as a list of one part, the form that templates of models with images read."""
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def _folded(messages: Sequence[Message]) -> list[Message] | None:
    """The messages with the system prompt before the first user's text; None where there is nothing to move."""
    roles = [message.get("role") for message in messages]
    if roles[:1] != ["system"] or "user" not in roles or not _text(messages[0]):
        return None
    at = roles.index("user")
    system, content = _text(messages[0]), messages[at].get("content")
    if isinstance(content, str):
        content = f"{system}\n\n{content}"
    else:
        first, *others = content or [{}]
        if isinstance(first, Mapping) and isinstance(first.get("text"), str):
            content = [{**first, "text": f"{system}\n\n{first['text']}"}, *others]
        else:
            content = [{"type": "text", "text": system}, *(content or ())]
    return [*messages[1:at], {**messages[at], "content": content}, *messages[at + 1 :]]


def _failure(error: Exception) -> str:
    """A message that describes a template's error."""
    from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError

    said = one_line(str(error))
    if isinstance(error, TemplateSyntaxError):
        return f"has a syntax error in line {error.lineno}: {said}"
    if isinstance(error, SecurityError):
        return f"was stopped, it attempts a forbidden operation: {said}"
    if isinstance(error, (RecursionError, MemoryError, SyntaxError)):
        return "is nested too deeply"
    if isinstance(error, UndefinedError):
        return f"uses an undefined value: {said}"
    return f"failed: {said or type(error).__name__}"
