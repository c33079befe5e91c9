"""Where an answer of `run` goes: to stdout as it is generated, to a file, or into a JSON object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ...chat_format.code_block import first_block
from ...errors import UsageError
from ...text import counted, readable
from ..ui import terminal
from ..ui.answer import AnswerScreen
from .calls import call_fields
from .model import to_json

if TYPE_CHECKING:
    from ...chat_format.prompt import Prompt
    from ...chat_format.tool_calls import Call
    from ...constraints.grammar import Grammar
    from ...generation.events import Event, Finished, Token
    from ...speculation.speculation import ProposerReport, Report

STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer must be before any of it is given out. `grammar`: its form, if it has one.

    `partial` gives out an answer that was cut short, too. `block`: only the first code block, in this language if it
    is not empty. Raises UsageError for options without meaning.
    """

    grammar: Grammar | None = None
    partial: bool = False
    block: str | None = None

    def __post_init__(self) -> None:
        if self.partial and self.grammar is None:
            raise UsageError(
                "--partial has no effect on an answer without a form", "it goes with --schema and the like"
            )

    def given_out(self, text: str, end: Finished | None) -> str:
        """What is given out of an answer. Raises IncompleteError where it is not what it must be."""
        if end is not None and not self.partial:
            end.check_valid()
        return text if self.block is None else first_block(text, self.block)


@dataclass(frozen=True, slots=True)
class Target:
    """A file or stdout (None or -), as text or as JSON; `force` overwrites an existing file, but none of `inputs`.

    `record`: a file for the answer's record besides.
    Raises NotFoundError where its folder does not exist, UsageError where it exists or is read by the command or where
    stdout is closed: before any work is done for the answer.
    """

    path: Path | None = None
    as_json: bool = False
    force: bool = False
    inputs: Sequence[Path] = ()
    record: Path | None = None

    def __post_init__(self) -> None:
        if self.record is not None:
            self._check(self.record)
            if self.record == self.path:
                raise UsageError("-o and --record name the same file", "give them different names")
        if self.path is None or self.path == STDOUT:
            terminal.check_stdout()
        else:
            self._check(self.path)

    def _check(self, path: Path) -> None:
        from ...files.atomic_file import check_absent, check_not_input
        from ...files.disk import check_folder
        from ...gguf.split import files_of

        check_folder(path)
        check_not_input(path, *(file for given in self.inputs for file in files_of(given)))
        if not self.force:
            check_absent(path)

    @contextmanager
    def open(self) -> Iterator[BinaryIO | None]:
        """The file to write to, None for stdout."""
        from ...files.atomic_file import atomic_file

        named = self.path if self.path != STDOUT else None
        with atomic_file(named, force=self.force) if named else nullcontext() as out:
            yield out


@dataclass(slots=True)
class _Record:
    """What an answer consisted of, for its JSON object; without `end` it was interrupted."""

    calls: Sequence[Call] = ()
    tokens: list[Token] = field(default_factory=list)
    end: Finished | None = None

    def of(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass on the events of an answer, and keep them."""
        from ...generation.events import Finished, Token

        for event in events:
            if isinstance(event, Token):
                self.tokens.append(event)
            elif isinstance(event, Finished):
                self.end = event
            yield event

    @property
    def text(self) -> str:
        """What was answered, without thoughts."""
        return "".join(part.text for token in self.tokens for part in token.parts if part.kind == "answer")

    def json(self, model: Path, form: Form) -> str:
        """The JSON object."""
        parts = [part for token in self.tokens for part in token.parts]
        stretches = [(kind, "".join(part.text for part in same)) for kind, same in groupby(parts, lambda p: p.kind)]
        thoughts = [text for kind, text in stretches if kind == "thought"]
        fields: dict[str, Any] = {"model": str(model), "text": readable(form.given_out(self.text, self.end))}
        if thoughts:
            fields["thinking"] = readable("\n\n".join(thoughts).strip())
        if form.grammar is not None and form.grammar.json and self.end is not None and self.end.valid:
            fields["parsed"] = form.grammar.value(self.text)
        if self.calls:
            fields["tool_calls"] = [call_fields(call) for call in self.calls]
        if best := self._log_probabilities():
            fields["logprobs"] = best
        end = self.end
        if end is None:
            return to_json(**fields, completion_tokens=len(self.tokens), finish_reason="interrupted")
        timings: dict[str, Any] = {
            "load_s": end.load_seconds,
            "prefill_s": end.prefill_seconds,
            "prefill_tokens_per_s": end.prefill_speed,
            "decode_s": end.decode_seconds,
            "decode_tokens_per_s": end.decode_speed,
        }
        report = end.speculation
        if report.proposed or report.draft_name:
            timings["speculation"] = {**_counts(report), "ngram": _counts(report.ngram)}
        if report.draft_name:
            timings["speculation"]["draft"] = {"model": report.draft_name, **_counts(report.draft)}
        return to_json(
            **fields,
            prompt_tokens=end.prompt_tokens,
            cached_tokens=end.reused_tokens,
            completion_tokens=end.generated_tokens,
            finish_reason=end.reason,
            seed=end.seed,
            timings=timings,
        )

    def _log_probabilities(self) -> list[dict[str, Any]]:
        """Of each token that has them: its own, and those of the likeliest ids."""
        from ...generation.log_probabilities import ScoredToken

        return [
            {"id": token.id, "logprob": token.logprob, "best": [{"id": id, "logprob": log} for id, log in token.best]}
            for token in self.tokens
            if isinstance(token, ScoredToken)
        ]


def _counts(report: Report | ProposerReport) -> dict[str, Any]:
    return {"proposed": report.proposed, "accepted": report.accepted, "gain": report.gain}


def deliver(
    screen: AnswerScreen, events: Iterable[Event], target: Target, model: Path, form: Form, calls: Sequence[Call] = ()
) -> None:
    """Write an answer to its target; `calls` are those that were not run, once it has ended.

    A signal that cuts it short leaves what there is on stdout, and no file. Raises IncompleteError for an answer that
    is not what `form` demands; without `form.partial` none of it is written.
    """
    record = _Record(calls)
    held = form.block is not None or (form.grammar is not None and not form.partial)
    with target.open() as out:
        if not (target.as_json or held):
            screen.answer(record.of(events), out)
        elif not target.as_json:
            screen.answer(record.of(_counted(events, screen)), BytesIO())
            screen.show(form.given_out(record.text, record.end), out)
        else:
            try:
                screen.answer(record.of(events), BytesIO())
            finally:
                if record.end or (record.tokens and not held):
                    _put(record.json(model, form), out)
    if record.end is not None:
        record.end.check_valid()


def _counted(events: Iterable[Event], screen: AnswerScreen) -> Iterator[Event]:
    """Events of an answer that is not shown yet; the screen says how long it is."""
    for n, event in enumerate(events):
        yield event
        screen.busy(f"answering, {counted(n, 'token')},")


def show_prompt(prompt: Prompt, target: Target, model: Path) -> None:
    """The exact text and token ids of a prompt."""
    ids = " ".join(map(str, prompt.ids))
    with target.open() as out:
        if target.as_json:
            text = to_json(model=str(model), text=readable(prompt.text), prompt_tokens=len(prompt.ids), ids=prompt.ids)
            _put(text, out)
            return
        end = "" if prompt.text.endswith("\n") else "\n"
        text = f"{prompt.text}{end}\n{counted(len(prompt.ids), 'token')}: {ids}\n"
        if out:
            out.write(text.encode("utf-8", "surrogateescape"))
        else:
            terminal.show_text(text)


def _put(text: str, out: BinaryIO | None) -> None:
    if out:
        out.write(text.encode() + b"\n")
    else:
        terminal.say(text)
