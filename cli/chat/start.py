"""Starts a chat: opens the model and the saved session, and chooses the keyboard."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ..open_model import chosen, guide, prompt_cache
from ..ui.answer import AnswerScreen
from ..ui.keyboard import Keyboard, LineEditor, PlainKeyboard, interactive
from ..ui.terminal import check_stdout
from .loop import chat_loop
from .slash_commands import complete
from .turns import TurnOptions, TurnRunner, count

if TYPE_CHECKING:
    from ...chat.conversation import Conversation
    from ...chat.store import SessionFile
    from ...chat_format.thinking import Think
    from ...generation.session import Session


@dataclass(frozen=True, slots=True)
class Limits:
    """How long answers and thoughts may be, in tokens; `stop` are texts that end an answer."""

    max_tokens: int | None
    stop: Sequence[str]
    think: Think
    think_budget: int | None


@dataclass(slots=True)
class Start:
    """The options of the command line that open a model, now or with /model later. `given` are sampling parameters."""

    model: Path | None
    n_ctx: int | None
    n_threads: int | None
    kv_type: str
    weights: str
    force: bool
    cache: str
    save: bool
    template: str | None
    given: Mapping[str, Any]
    limits: Limits
    quiet: bool = False

    def turn_options(self, tools: Path | None, tool_run: str, context_end: str, commands: bool) -> TurnOptions:
        """How turns are run. Raises as `tools.load`, and UsageError for an empty `tool_run`."""
        from ...chat.tools import load

        how: tuple[str, ...] | str = tool_run if tool_run in ("ask", "never") else tuple(shlex.split(tool_run))
        if not how:
            raise UsageError("--tool-run is empty", "give ask, never or a program")
        return TurnOptions(tuple(load(tools)) if tools is not None else (), how, str(context_end), commands)

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
        self.model = self.model or (Path(saved.model) if saved else guide(quiet=self.quiet))
        model = str(self.model)
        conversation = saved.conversation if saved else Conversation(system)
        if not self.save:
            conversation.system = conversation.system if system is None else system
            return None, conversation
        id = saved.id if saved else id
        file = sessions.named(id, model, system) if id else sessions.new(model, system)
        if saved and system is not None and system != conversation.system:
            conversation.system = system
            file.append({"type": "system", "text": system})
        return file, conversation

    def session(self, name: str) -> Session:
        """Open a model by its name. Raises as `Session.open`, and ResourceError where memory does not suffice."""
        from ...generation.session import Session
        from ...model_info.memory_limit import check_memory

        session = Session.open(
            name,
            n_ctx=self.n_ctx,
            n_threads=self.n_threads,
            kv_type=self.kv_type,
            weights=self.weights,
            force=self.force,
        )
        try:
            if not self.force:
                check_memory(session.gguf.metadata, session.gguf.tensors, session.n_ctx, self.kv_type)
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

        session = self.session(str(self.model))
        try:
            tools = [tool.declared for tool in options.tools]
            sampling = chosen(session, self.given)
            settings = ChatSettings(
                sampling,
                self.limits.max_tokens,
                self.limits.stop,
                self.limits.think,
                self.limits.think_budget,
                self.template,
                tools,
            )
            chat = Chat(session, conversation, settings)
        except BaseException:
            session.close()
            raise
        screen.notes(filter(None, [*session.tokenizer.notes, chat.template.note]))
        return TurnRunner(chat, screen, self._keyboard(), file, options, self.session)

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
            stack.callback(lambda: runner.chat.session.close())
            if file is not None:
                stack.callback(file.close)
            if runner.interactive:
                continued = f" · continued after {count(turns, 'turn')}" if turns else ""
                screen.notes([f"{title(runner.chat.session)} · /? for help · Ctrl-D to quit{continued}"])
            return chat_loop(runner)

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
