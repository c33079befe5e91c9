"""Starts a chat: opens the model and the saved session, and chooses the keyboard."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import UsageError
from ...text import counted
from ..open_model import chosen, guide, prompt_cache
from ..options.engine import DecoderOptions, absolute_adapters
from ..ui.answer import AnswerScreen
from ..ui.keyboard import Keyboard, LineEditor, PlainKeyboard, interactive
from ..ui.terminal import check_stdout
from .completion import complete
from .loop import chat_loop
from .turns import TurnOptions, TurnRunner

if TYPE_CHECKING:
    from ...chat.conversation import Conversation
    from ...chat.store import SessionFile
    from ...chat_format.thinking import Think
    from ...constraints.grammar import Grammar
    from ...generation.session import Session


class Limits(NamedTuple):
    """How long answers and thoughts may be, in tokens; `stop` are texts that end an answer, `grammar` is its form."""

    max_tokens: int | None
    stop: Sequence[str]
    think: Think
    think_budget: int | None
    grammar: Grammar | None = None


@dataclass(slots=True)
class Start:
    """The options of the command line that open a model, now or with /model later. `given` are sampling parameters.

    Those of them, of the limits and the system prompt whose names are `settled` come from the user's settings: what a
    saved session has goes before them.
    """

    model: Path | None
    model_options: DecoderOptions
    cache: str
    save: bool
    template: str | None
    given: Mapping[str, Any]
    limits: Limits
    quiet: bool = False
    files: Sequence[Path] = ()  # to be sent with the first question
    question: str | None = None  # the first one
    settled: Set[str] = frozenset()

    def conversation(self, resume: bool, id: str | None, system: str | None) -> tuple[SessionFile | None, Conversation]:
        """The saved session to continue, or a new one, and its conversation. Its model is used if none is named."""
        from ...chat import store as sessions
        from ...chat.conversation import Conversation
        from ...errors import NotFoundError

        if resume and id is not None:
            raise UsageError("--continue and --session cannot be combined", "--session ID continues that session")
        saved = sessions.latest() if resume else None
        if id is not None:
            try:
                saved = sessions.load(id)
            except NotFoundError:
                if self.model is None:
                    raise
        before = self._adapters(saved.settings if saved else {})
        self.model = self.model or (Path(saved.model) if saved else guide(quiet=self.quiet))
        model, settings = str(self.model), self._settings(saved.settings if saved else {})
        conversation = saved.conversation if saved else Conversation(system)
        system = None if saved and "system" in self.settled else system
        if not self.save:
            conversation.system = conversation.system if system is None else system
            return None, conversation
        id = saved.id if saved else id
        if id:
            file = sessions.named(id, model, system, settings=settings)
        else:
            file = sessions.new(model, system, settings=settings)
        if saved and model != saved.model:
            file.append({"type": "model", "model": model})
        if saved and settings.get("lora", []) != before:
            file.append({"type": "set", "name": "lora", "value": settings.get("lora", [])})
        if saved and system is not None and system != conversation.system:
            conversation.system = system
            file.append({"type": "system", "text": system})
        return file, conversation

    def _adapters(self, saved: Mapping[str, Any]) -> list[str]:
        """The adapters of a saved session; they are used again with its model, unless others or a model are named."""
        found = saved.get("lora")
        kept = found if isinstance(found, list) and all(isinstance(one, str) for one in found) else []
        if kept and self.model is None and not self.model_options.lora:
            self.model_options = self.model_options.replace(lora=kept)
        return kept

    def _settings(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a saved session, unless others are typed; they hold from now on. A file's invalid ones do not."""
        from ...generation.sampling_defaults import valid

        limits = self.limits
        given = {name: value for name, value in self.given.items() if value is not None}
        kept = {name: value for name, value in valid(saved).items() if name not in given or name in self.settled}
        given |= kept
        most, think = saved.get("max_tokens"), saved.get("think")
        if (
            (limits.max_tokens is None or "max_tokens" in self.settled)
            and isinstance(most, int)
            and not isinstance(most, bool)
            and most > 0
        ):
            limits = limits._replace(max_tokens=most)
        if (limits.think == "auto" or "think" in self.settled) and think in ("on", "off"):
            limits = limits._replace(think=think)
        self.given, self.limits = given, limits
        more: dict[str, Any] = {"max_tokens": limits.max_tokens, "think": limits.think}
        if self.model_options.lora:
            more["lora"] = absolute_adapters(self.model_options.lora)
        return given | {name: value for name, value in more.items() if value not in (None, "auto")}

    def _attached(self, session: Session) -> str:
        from ...chat_format.prompt import with_files
        from ..text_input import files_source

        files = files_source(self.files)(session.most_bytes)
        return with_files(files, b"").decode("utf-8", "surrogateescape")

    def session(self, name: str) -> Session:
        """Open a model by its name. Raises as `Session.open`, and ResourceError where memory does not suffice."""
        from ...generation.session import Session

        session = Session.open(name, **self.model_options.arguments())
        try:
            if not self.model_options.yes:
                session.check_memory()
            session.cache = prompt_cache(self.cache if self.save else "off")
        except BaseException:
            session.close()
            raise
        return session

    def runner(
        self,
        screen: AnswerScreen,
        conversation: Conversation,
        file: SessionFile | None,
        options: TurnOptions,
    ) -> TurnRunner:
        """The chat, ready to run. Raises as `session` and `Chat`."""
        from ...chat.chat import Chat, ChatSettings

        screen.busy("opening the model")
        session = self.session(str(self.model))
        try:
            tools = [tool.declared for tool in options.functions.tools]
            sampling = chosen(session, self.given)
            settings = ChatSettings(
                sampling,
                self.limits.max_tokens,
                self.limits.stop,
                self.limits.think,
                self.limits.think_budget,
                self.template,
                tools,
                grammar=self.limits.grammar,
                tool_choice=options.functions.choice,
            )
            chat = Chat(session, conversation, settings)
        except BaseException:
            session.close()
            raise
        screen.notes([*session.tokenizer.notes, *session.notes, *chat.notes])
        runner = TurnRunner(chat, screen, self._keyboard(), file, options, self.session)
        try:
            runner.attached = self._attached(session)
            runner.load()
        except BaseException:
            session.close()
            raise
        return runner

    def run(
        self,
        screen: AnswerScreen,
        conversation: Conversation,
        file: SessionFile | None,
        options: TurnOptions,
    ) -> int:
        """Chat, then close what was opened. Returns the exit code; raises as `runner`."""
        check_stdout()
        turns = len(conversation.turns)
        with screen, ExitStack() as stack:
            runner = self.runner(screen, conversation, file, options)
            stack.callback(runner.close)
            if runner.interactive:
                continued = f" · continued after {counted(turns, 'turn')}" if turns else ""
                screen.notes([f"{title(runner.chat.session)} · /? for help · Ctrl-D to quit{continued}"])
                runner.show_last()
            return chat_loop(runner, self.question)

    def _keyboard(self) -> Keyboard:
        if not interactive():
            return PlainKeyboard()
        wanted = self.save and not os.environ.get("LLMLOCAL_NO_HISTORY")
        return LineEditor(_history() if wanted else None, complete)


def title(session: Session) -> str:
    """The model's name and the type of its file, for people: SmolLM2-135M-Instruct Q4_1."""
    from ...model_info.describe import file_type

    name, type = session.gguf.path.stem, file_type(session.gguf.metadata) or ""
    if type and name.upper().endswith(type):
        name = name[: -len(type)].rstrip("._- ")
    return f"{name} {type}".rstrip()


def _history() -> Path:
    from ...quant.user_folders import user_folder

    return user_folder("state") / "history"
