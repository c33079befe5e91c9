"""Where an answer goes: to stdout as it is made, into a file, or into one JSON object. Draws nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..ui import terminal
from ..ui.answer import AnswerScreen
from .model import to_json

if TYPE_CHECKING:
    from ...chat import answer as answering
    from ...chat_format.prompt import Prompt
    from ...generation.session import Event, Finished, Session

STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class Target:
    """A file or stdout (None or -), as text or as JSON; `force` writes over a file that is there.

    Raises UsageError where the answer could not be put: before any work is done for it.
    """

    path: Path | None = None
    as_json: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        from ...files.atomic_file import check_absent

        if self.path is not None and self.path != STDOUT and not self.force:
            check_absent(self.path)

    @contextmanager
    def open(self) -> Iterator[BinaryIO | None]:
        """The file to write to, None for stdout."""
        from ...files.atomic_file import atomic_file

        named = self.path if self.path != STDOUT else None
        with atomic_file(named, force=self.force) if named else nullcontext() as out:
            yield out


def said(events: Iterable[answering.Event], screen: AnswerScreen, thoughts: list[str]) -> Iterator[Event]:
    """The events of an answer without its thoughts, a piece a token; those go to stderr and into `thoughts`."""
    from ...chat.answer import Count
    from ...chat_format.tag_splitter import Part
    from ...generation.session import Piece

    pending = b""
    for event in events:
        if isinstance(event, Part) and event.kind == "thought":
            thoughts.append(event.text)
            screen.thought(event.text)
        elif isinstance(event, Part):
            if thoughts and thoughts[-1] != "\n\n":
                thoughts.append("\n\n")
                screen.thought("\n\n")
            pending += event.text.encode("utf-8", "surrogateescape")
        elif isinstance(event, Count):
            yield Piece(0, pending)
            pending = b""
        else:
            if pending:
                yield Piece(0, pending)
                pending = b""
            yield event


def deliver(
    screen: AnswerScreen, events: Iterable[Event], target: Target, model: Path, thoughts: Sequence[str] = ()
) -> None:
    """Put an answer where it is to go. A signal that cuts it short leaves what there is on stdout, and no file."""
    with target.open() as out:
        if not target.as_json:
            screen.answer(events, out)
            return
        pieces: list[bytes] = []
        end: Finished | None = None
        try:
            for event in screen.watch(events):
                if isinstance(event, bytes):
                    pieces.append(event)
                else:
                    end = event
        finally:
            if end or pieces:
                _put(_record(model, pieces, end, thoughts), out)


def reply(
    screen: AnswerScreen,
    session: Session,
    ready: Prompt,
    settings: answering.Settings,
    target: Target,
    model: Path,
    only_prompt: bool = False,
) -> None:
    """Answer a prompt, or show it. Of a text that is only continued every byte passes: no thoughts are looked for."""
    from ...chat.answer import answer

    screen.notes(ready.notes)
    if only_prompt:
        return show_prompt(ready, target, model)
    thoughts: list[str] = []
    events: Iterable[Event]
    if ready.chat:
        events = said(answer(session, ready, settings, errors="surrogateescape"), screen, thoughts)
    else:
        s = settings
        events = session.answer(ready, max_tokens=s.max_tokens, sampling=s.sampling, stop=s.stop)
    deliver(screen, events, target, model, thoughts)


def show_prompt(prompt: Prompt, target: Target, model: Path) -> None:
    """The exact text and ids of a prompt."""
    ids = " ".join(map(str, prompt.ids))
    with target.open() as out:
        if target.as_json:
            text = to_json(model=str(model), text=_readable(prompt.text), prompt_tokens=len(prompt.ids), ids=prompt.ids)
            _put(text, out)
            return
        end = "" if prompt.text.endswith("\n") else "\n"
        text = f"{prompt.text}{end}\n{len(prompt.ids)} tokens: {ids}\n"
        if out:
            out.write(text.encode("utf-8", "surrogateescape"))
        else:
            terminal.show_text(text)


def _put(text: str, out: BinaryIO | None) -> None:
    if out:
        out.write(text.encode() + b"\n")
    else:
        terminal.say(text)


def _record(model: Path, pieces: list[bytes], end: Finished | None, thoughts: Sequence[str] = ()) -> str:
    """The JSON object of an answer; without `end` it was interrupted."""
    fields: dict[str, Any] = {"model": str(model), "text": b"".join(pieces).decode("utf-8", "replace")}
    if thoughts:
        fields["thinking"] = _readable("".join(thoughts).strip())
    if end is None:
        return to_json(**fields, completion_tokens=len(pieces), finish_reason="interrupted")
    timings = {
        "load_s": end.load_seconds,
        "prefill_s": end.prefill_seconds,
        "prefill_tokens_per_s": end.prefill_speed,
        "decode_s": end.decode_seconds,
        "decode_tokens_per_s": end.decode_speed,
    }
    return to_json(
        **fields,
        prompt_tokens=end.prompt_tokens,
        cached_tokens=end.reused_tokens,
        completion_tokens=end.generated_tokens,
        finish_reason=end.reason,
        seed=end.seed,
        timings=timings,
    )


def _readable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
