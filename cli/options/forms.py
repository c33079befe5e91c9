"""What form an answer must have, and what is given out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UsageError
from ..option_groups import OptionGroup, option

if TYPE_CHECKING:
    from ...constraints.grammar import Grammar


class AnswerForm(OptionGroup):
    """What form an answer must have."""

    schema: str | None = option(
        "--schema FILE|JSON|FIELDS",
        "Answer with JSON that this JSON schema allows. FIELDS is short for an object, such as "
        "'name, age int, tags [str]'. Default: any text.",
    )
    grammar: Path | None = option(
        "--grammar FILE", "Answer with a text of this grammar (GBNF or Lark). Default: any text."
    )
    regex: str | None = option(
        "--regex RE", "Answer with a text that this regular expression matches. Default: any text."
    )
    json_object: bool = option("--json-object", "Answer with any JSON object.", default=False)

    def requested(self) -> Grammar | None:
        """The form; None where there is none. Raises as `constraints.requested`."""
        from ...constraints.requested import requested

        return requested(self.schema, self.grammar, self.regex, self.json_object)


class AnswerOutput(OptionGroup):
    """What is printed of an answer."""

    partial: bool = option(
        "--partial",
        "Print an answer with a form as it is made, also where it is cut short. Default: print only a whole one.",
        default=False,
    )
    extract: bool = option(
        "-x --extract", "Print only the first code block of the answer, without its fences.", default=False
    )
    extract_lang: str | None = option(
        "--extract-lang LANG", "As --extract, the first block in this language, such as sql."
    )

    logprobs: int | None = option(
        "--logprobs K",
        "With --json, add the log probability of each token and of the K likeliest. Default: none.",
        min=0,
        max=100,
    )

    def best(self, *, as_json: bool) -> int | None:
        """How many of the likeliest tokens are given out. Raises UsageError where there is no place for them."""
        if self.logprobs is not None and not as_json:
            raise UsageError("--logprobs has no effect without --json", "add --json")
        return self.logprobs

    @property
    def block(self) -> str | None:
        """The language of the block to give out, empty for any; None for the whole answer."""
        return "" if self.extract and self.extract_lang is None else self.extract_lang
