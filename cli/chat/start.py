"""What a chat begins with: the model, the session that is continued, who types, where things are kept."""

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
from ..ui.chat import ChatScreen
from ..ui.keyboard import Keyboard, LineEditor, PlainKeyboard, interactive
from .loop import chat_loop
from .slash_commands import complete
from .turns import Options, Talk

if TYPE_CHECKING:
    from ...chat.conversation import Conversation
    from ...chat.store import SessionFile
    from ...chat_format.thinking import Think
    from ...generation.session import Session


@dataclass(frozen=True, slots=True)
class Limits:
    """How long answers and thoughts may be."""

    max_tokens: int | None
    stop: Sequence[str]
    think: Think
    think_budget: int | None


@dataclass(slots=True)
class Start:
    """The choices of the command line that open a model: also another one, later in the chat."""

    model: Path | None
    n_ctx: int | None
    n_threads: int | None
    kv_type: str
    force: bool
    cache: str
    save: bool
    template: str | None
    given: Mapping[str, Any]

    def functions(self, tools: Path | None, tool_run: str, context_end: str) -> Options:
        """The functions that a model may call. Raises as `tools.load`."""
        from ...chat.tools import load

        how: tuple[str, ...] | str = tool_run if tool_run in ("ask", "never") else tuple(shlex.split(tool_run))
        if not how:
            raise UsageError("--tool-run needs ask, never or a program")
        return Options(tuple(load(tools)) if tools is not None else (), how, str(context_end))

    def conversation(self, resume: bool, id: str | None, system: str | None) -> tuple[SessionFile | None, Conversation]:
        """The session that is continued, or a new one, and what was said in it. Its model is ours, if none is named."""
        from ...chat import store as sessions
        from ...chat.conversation import Conversation
        from ...errors import NotFoundError

        if resume and id is not None:
            raise UsageError("--continue and --session exclude each other")
        saved = sessions.latest() if resume else None
        if id is not None:
            try:
                saved = sessions.load(id)
            except NotFoundError:
                if self.model is None:
                    raise
        self.model = self.model or (Path(saved.model) if saved else guide())
        model = str(self.model)
        talk = saved.conversation if saved else Conversation(system)
        if not self.save:
            talk.system = talk.system if system is None else system
            return None, talk
        id = saved.id if saved else id
        file = sessions.named(id, model, system) if id else sessions.new(model, system)
        if saved and system is not None and system != talk.system:
            talk.system = system
            file.append({"type": "system", "text": system})
        return file, talk

    def session(self, name: str) -> Session:
        """A model by its name. Raises as `Session.open`, and ResourceError where memory does not suffice."""
        from ...generation.session import Session
        from ...model_info.memory_limit import check_memory

        session = Session.open(name, n_ctx=self.n_ctx, n_threads=self.n_threads, kv_type=self.kv_type, force=self.force)
        try:
            if not self.force:
                check_memory(session.gguf.metadata, session.gguf.tensors, session.n_ctx, self.kv_type)
            session.cache = prompt_cache(self.cache if self.save else "off")
        except BaseException:
            session.close()
            raise
        return session

    def talk(
        self,
        screen: ChatScreen,
        conversation: Conversation,
        keep: SessionFile | None,
        options: Options,
        limits: Limits,
    ) -> Talk:
        """The chat, ready to run. Raises as `session` and `Dialogue`."""
        from ...chat.answer import Settings
        from ...chat.chat import Dialogue

        session = self.session(str(self.model))
        try:
            tools = [tool.declared for tool in options.tools]
            sampling = chosen(session, self.given)
            settings = Settings(
                sampling, limits.max_tokens, limits.stop, limits.think, limits.think_budget, self.template, tools
            )
            dialogue = Dialogue(session, conversation, settings)
        except BaseException:
            session.close()
            raise
        screen.notes(filter(None, [*session.tokenizer.notes, dialogue.template.note]))
        return Talk(dialogue, screen, self._keyboard(), keep, options, self.session)

    def run(
        self,
        screen: ChatScreen,
        conversation: Conversation,
        keep: SessionFile | None,
        options: Options,
        limits: Limits,
    ) -> int:
        """Talk, and close what was opened; the exit code. Raises as `talk`."""
        turns = len(conversation.turns)
        with screen, ExitStack() as stack:
            talk = self.talk(screen, conversation, keep, options, limits)
            stack.callback(lambda: talk.dialogue.session.close())
            if keep is not None:
                stack.callback(keep.close)
            if talk.person:
                going_on = f", going on after {turns} turns" if turns else ""
                kept = f"; saved as {keep.id}" if keep else ""
                screen.notes([f"{self.model}{going_on}{kept}; /help lists commands, Ctrl-D leaves"])
            return chat_loop(talk)

    def _keyboard(self) -> Keyboard:
        if not interactive():
            return PlainKeyboard()
        wanted = self.save and not os.environ.get("LLMLOCAL_NO_HISTORY")
        return LineEditor(_history() if wanted else None, complete)


def _history() -> Path:
    from platformdirs import user_state_path

    return user_state_path("llmlocal") / "history"
