"""The prompt of a row: its text, its messages, or a text in which the row's fields are filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..chat_format.chat_template import choose
from ..chat_format.prompt import Prompt, check_can_think, conversation, plain
from ..chat_format.thinking import Think
from ..errors import UsageError
from ..generation.session import Session
from ..text import shown

MOST_NAMED = 8  # fields that an error names
HOLE = re.compile(r"\{\{|\}\}|\{([^{}\n]*)\}")


class FieldText:
    """A text with places for fields: `{name}`; `{{` and `}}` stand for braces.

    Raises UsageError where it names no field: all rows would have the same prompt.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.names = {match[1] for match in HOLE.finditer(text) if match[1] is not None}
        if not self.names:
            raise UsageError("the prompt template names no field", "write {name} where a field of the row belongs")

    def filled(self, fields: Mapping[str, Any]) -> str:
        """The text with the values of fields; other values are written as JSON. Raises UsageError for a missing one.

        Braces within a value are text.
        """
        if missing := sorted(self.names - fields.keys()):
            there = ", ".join(map(shown, sorted(fields)[:MOST_NAMED])) or "none"
            raise UsageError(f"the row has no field {shown(missing[0])}", f"its fields: {there}")

        def value(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0][0]
            found = fields[match[1]]
            return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

        return HOLE.sub(value, self._text)


class RowPrompts:
    """Makes prompts of rows for the model of `session`.

    `text` is what a row's fields are filled into, if there is such a text; `template` names a chat template in place of
    the model's. Raises NotFoundError, BadFileError for a template that cannot be read, UsageError for a system prompt
    without one, and for thinking that it does not have.
    """

    def __init__(
        self, session: Session, text: FieldText | None, system: str | None, template: str | None, think: Think
    ) -> None:
        self.given = text, system, template, think  # what others are made with that make the same prompts
        self._session, self._text, self._system, self._think = session, text, system, think
        self._template = choose(session.gguf.metadata, session.tokenizer, template)
        if self._template is None and system is not None:
            hint = "choose a template, for example --template chatml"
            raise UsageError("a system prompt needs a chat template, and the model has none", hint)
        if self._template is not None and think == "on":
            check_can_think(self._template)

    def of(self, fields: Mapping[str, Any]) -> Prompt:
        """The prompt of a row. Raises UsageError for fields that make none, and as `Session.prompt`."""
        if self._text is None and "messages" in fields:
            return self._chat(_messages(fields["messages"]))
        text = self._text.filled(fields) if self._text else _text(fields)
        if self._template is None:
            self._session.check_size(text)
            return plain(text, self._session.tokenizer, self._session.gguf.metadata)
        if not text:
            raise UsageError("the prompt is empty")
        return self._chat([{"role": "user", "content": text}])

    def _chat(self, messages: list[Mapping[str, Any]]) -> Prompt:
        if self._template is None:
            raise UsageError("messages need a chat template, and the model has none", "give --template chatml")
        if self._system is not None and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self._system}, *messages]
        self._session.check_size(*(message["content"] for message in messages))
        return conversation(messages, self._template, self._session.tokenizer, think=self._think)


def _text(fields: Mapping[str, Any]) -> str:
    if "prompt" not in fields:
        hint = "--prompt-template says how other fields make a prompt"
        raise UsageError("the row has neither a field 'prompt' nor 'messages'", hint)
    if not isinstance(fields["prompt"], str):
        raise UsageError(f"the field 'prompt' is {shown(json.dumps(fields['prompt'])[:40])}: must be a text")
    return fields["prompt"]


def _messages(value: object) -> list[Mapping[str, Any]]:
    wanted = "must be a list of objects with the texts 'role' and 'content'"
    if not isinstance(value, list) or not value:
        raise UsageError(f"the field 'messages' {wanted}")
    for n, message in enumerate(value, 1):
        texts = isinstance(message, dict) and isinstance(message.get("role"), str)
        if not texts or not isinstance(message.get("content"), str):
            raise UsageError(f"message {n} of the field 'messages': it {wanted}")
    return value
