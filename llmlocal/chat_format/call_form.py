"""The calls that an answer may or must make: their tags, and the grammars that hold from a tag to its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..constraints.token_constraint import TokenConstraint
from ..errors import UsageError
from ..text import shown
from ..tokenizer import Tokenizer
from .call_grammar import Function, check, lark
from .call_shape import PROBE, Shape
from .chat_template import ChatTemplate
from .tag_splitter import Span
from .tool_use import PLAIN, ToolUse, tool_use


class CallForm:
    """The calls of one answer, for one tokenizer.

    `forced`: the answer consists of calls. Otherwise it is free up to a tag of `spans`. `one`: it makes one call at
    most. `strict`: calls that no grammar holds to their schema are not let happen. `notes` name functions whose
    schemas cannot be followed.
    """

    def __init__(
        self,
        use: ToolUse,
        tools: Sequence[Mapping[str, Any]],
        tokenizer: Tokenizer,
        *,
        forced: Collection[str] = (),
        one: bool = False,
        strict: Collection[str] = (),
    ) -> None:
        """`forced` and `strict` are names of functions. Raises UsageError where one of their schemas cannot be used."""
        self.forced, self.one, self.strict = bool(forced), one, bool(strict)
        self.notes: list[str] = []
        self._started: dict[str, tuple[Shape, TokenConstraint]] = {}
        functions = [Function.of(tool) for tool in tools]
        self._bound = {*forced, *strict}
        if forced:
            functions = [function for function in functions if function.name in forced]
        failures = self._start(use.shapes, functions, tokenizer)
        if not self._started and self.forced and PLAIN is not None:
            failures += self._start((PLAIN,), functions, tokenizer)
        if not self._started and self._bound:
            raise failures[0] if failures else UsageError("the model's notation of calls is not known")
        if not self._started and failures:
            self.notes.append(f"calls are not held to their schemas: {failures[0]}")
        self.spans: tuple[Span, ...] = self._forced_spans() if self.forced else use.spans

    @property
    def lead(self) -> str:
        """What stands before a call that the answer begins with."""
        lead = self.forced_start()[0].lead
        return "" if PROBE in lead else lead

    def forced_start(self) -> tuple[Shape, TokenConstraint]:
        """What holds for an answer that is forced to call, from its tag on."""
        shape, constraint = next(iter(self._started.values()))
        return shape, constraint.copy()

    def start(self, opens: str) -> tuple[Shape, TokenConstraint] | None:
        """What holds from the tag `opens` on, which it includes; None where nothing does."""
        found = self._started.get(opens)
        return None if found is None else (found[0], found[1].copy())

    def _start(self, shapes: Sequence[Shape], functions: Sequence[Function], tokenizer: Tokenizer) -> list[UsageError]:
        """Make the grammars of those shapes that can be followed, of the first of them where calls are forced."""
        from llguidance import LLMatcher

        from ..constraints.matcher import Matcher
        from ..constraints.token_table import table_of

        failures = []
        for shape in shapes:
            if self._started and self.forced:
                break
            try:
                followed = [self._followed(function, shape) for function in functions]
                rules = lark(shape, followed, tokenizer, one=self.one or self._opens_again(shape))
                matcher = Matcher(table_of(tokenizer), LLMatcher.grammar_from_lark(rules))
                self._started[shape.span.opens] = shape, matcher
            except UsageError as error:
                failures.append(error)
        return failures

    def _opens_again(self, shape: Shape) -> bool:
        """Whether a second call has tags of its own, at which its own grammar begins."""
        return not self.forced and bool(shape.span.closes) and shape.span.closes in (shape.between or "")

    def _followed(self, function: Function, shape: Shape) -> Function:
        """The function, with any arguments where its schema cannot be followed and need not be."""
        try:
            check(function, shape)
        except UsageError as error:
            if function.name in self._bound:
                raise
            loose = function.loose()
            check(loose, shape)
            note = f"calls of {shown(function.name)} are not held to its schema: {error}"
            if note not in self.notes:
                self.notes.append(note)
            return loose
        return function

    def _forced_spans(self) -> tuple[Span, ...]:
        return (self.forced_start()[0].span, *((Span("dropped", self.lead),) if self.lead.strip() else ()))


def call_form(
    template: ChatTemplate,
    tools: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    *,
    forced: Collection[str] = (),
    one: bool = False,
    strict: Collection[str] = (),
) -> CallForm | None:
    """The calls of an answer to a prompt by this template; None where nothing is declared. Raises as `CallForm`."""
    return CallForm(tool_use(template), tools, tokenizer, forced=forced, one=one, strict=strict) if tools else None


def chosen(tools: Sequence[Mapping[str, Any]], choice: str) -> list[str]:
    """The functions of which one must be called, by "auto", "none", "required" or a name. Raises UsageError."""
    names = [str(tool.get("function", tool)["name"]) for tool in tools]
    if choice in ("auto", "none"):
        return []
    if not names:
        raise UsageError("a call is forced, and no function is declared", "declare functions with --tools")
    if choice == "required":
        return names
    if choice not in names:
        raise UsageError(f"no function is called {shown(choice)}", f"there are {', '.join(map(shown, names[:8]))}")
    return [choice]
