"""The commands of a chat: what each `/name` does. The first line of its docstring is its line in /help."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from ...errors import PromptTooLongError, UsageError
from ...text import counted, escaped
from ..choices import Rendering, ShownThoughts
from ..ui.answer import summary
from ..ui.clipboard import copy
from ..ui.keyboard import edited
from .arguments import first_word, path_of
from .saved_commands import load, model, save, sessions
from .turns import TurnRunner

EXITS = ("exit", "quit", "bye")
NAME = re.compile(r"/\S{0,40}")
BLOCK = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(.*?)^[ \t]*\1", re.MULTILINE | re.DOTALL)  # of code, in Markdown
MOST_COUNTED = 4 << 20  # bytes of a file whose tokens are counted; of a larger one they are estimated
READ_AT_MOST = 1 << 28  # bytes of a file for /read


def perform(runner: TurnRunner, line: str) -> bool:
    """Run the command that a line with a slash names. Returns whether the chat goes on; raises UsageError."""
    name, _, rest = line[1:].partition(" ")
    if name in EXITS:
        return False
    found = COMMANDS.get("help" if name == "?" else name)
    if found is None:
        close = unknown(line)[1]
        known = "type /help for the list; start with // to send text that begins with /"
        raise UsageError(f"no command /{name}", close.removeprefix(": ") or known)
    found(runner, rest.strip())
    return True


def unknown(line: str) -> tuple[str, str]:
    """The name of a command that does not exist, for messages, and which one may be meant."""
    found = NAME.match(line)
    name = found[0] if found else "/"
    close = get_close_matches(name[1:], COMMANDS, 1, 0.7)
    return escaped(name), f": did you mean /{close[0]}?" if close else ""


def is_command(line: str) -> bool:
    """Whether a line names one of the commands."""
    return line[:1] == "/" and line[1:].split(" ")[0] in (*COMMANDS, *EXITS, "?")


def help_(runner: TurnRunner, rest: str) -> None:
    """list the commands"""
    width = max(map(len, COMMANDS)) + 3
    lines = (f"{'/' + name:<{width}}{command.__doc__}" for name, command in COMMANDS.items())
    runner.screen.told(lines, hang=width)
    runner.screen.told(
        [
            f"{'/exit':<{width}}leave the chat, as Ctrl-D does",
            "Enter sends; Alt-Enter or Ctrl-J starts a new line; Ctrl-C stops an answer.",
            "Start with // to send text that begins with /.",
        ]
    )


def clear(runner: TurnRunner, rest: str) -> None:
    """start a new conversation; the system prompt stays"""
    runner.chat.conversation.clear()
    runner.save({"type": "clear"})
    runner.screen.aside("(new conversation)")


def undo(runner: TurnRunner, rest: str) -> None:
    """remove the last turn"""
    runner.screen.aside("(removed the last turn)" if runner.undo() else "(there is no turn to remove)")


def retry(runner: TurnRunner, rest: str) -> None:
    """try the last answer again"""
    turns = runner.chat.conversation.turns
    if not turns:
        raise UsageError("there is no answer to try again")
    runner.retry(turns[-1].question)


def continue_(runner: TurnRunner, rest: str) -> None:
    """go on with the last answer, if it was cut short"""
    runner.go_on()


def edit(runner: TurnRunner, rest: str) -> None:
    """[TEXT|last]: write a message in $VISUAL or $EDITOR; last edits the last question and sends it again"""
    turns = runner.chat.conversation.turns
    again = rest == "last"
    if again and not turns:
        raise UsageError("there is no question to edit")
    before = turns[-1].question if again else rest
    text = edited(before)
    if text is None:
        raise UsageError("the editor could not be started or failed", "set EDITOR to the editor to use")
    if not text.strip() or (again and text == before):
        runner.screen.aside("(nothing was changed)" if again else "(nothing to send)")
    elif again:
        runner.retry(text)
    else:
        runner.ask(text)


def read(runner: TurnRunner, rest: str) -> None:
    """FILE [question]: send a text file, with a question about it"""
    from ...chat_format.prompt import with_files
    from ..text_input import files_source

    name, question = first_word(rest)
    if not name:
        raise UsageError("/read needs a file", "such as /read notes.txt What is this about?")
    files = files_source([path_of(name)])(READ_AT_MOST)
    text = with_files(files, question.encode("utf-8", "surrogateescape"))
    _check_fits(runner, name, text)
    runner.ask(text.decode("utf-8", "surrogateescape"))
    runner.default = runner.default and f"/read {rest}"


def _check_fits(runner: TurnRunner, name: str, text: bytes) -> None:
    """Raises PromptTooLongError, which says how large a context would do, for a file that cannot fit."""
    from ...model_info.arch_value import arch_value

    session = runner.chat.session
    n = len(session.tokenizer.encode(text[:MOST_COUNTED].decode("utf-8", "surrogateescape"), add_special=False))
    more = len(text) > MOST_COUNTED
    n = n * len(text) // MOST_COUNTED if more else n
    room = runner.chat.answer_room
    if n + room > session.n_ctx:
        size = f"{'about ' if more else ''}{n} tokens"
        message = f"{escaped(name)} is {size}; the context holds {session.n_ctx}, {room} of them for the answer"
        enough = -(-(n + 2 * room) // 1024) * 1024
        trained = arch_value(session.gguf.metadata, "context_length")
        hint = f"llmlocal chat --continue --ctx {enough} holds it"
        if trained is not None and session.n_ctx <= trained < enough:
            hint = f"send a part of it: the model was trained on {trained} tokens"
        raise PromptTooLongError(message, hint)


def system(runner: TurnRunner, rest: str) -> None:
    """[TEXT]: show or set the system prompt; /system off removes it"""
    conversation = runner.chat.conversation
    if not rest:
        runner.screen.told([conversation.system or "(no system prompt)"])
        return
    conversation.system = None if rest == "off" else rest
    runner.save({"type": "system", "text": conversation.system})
    runner.screen.aside("(system prompt removed)" if rest == "off" else "(system prompt set)")


def set_(runner: TurnRunner, rest: str) -> None:
    """[NAME [VALUE]]: show or set temperature, top_k, top_p, min_p, seed, max_tokens and others"""
    from ...generation.sampling_defaults import NAMES, parameter

    settings = runner.chat.settings
    values = {name: getattr(settings.sampling, name) for name in NAMES} | {"max_tokens": settings.max_tokens}
    key, text = first_word(rest)
    key = key.replace("-", "_")
    key = SHORT_NAMES.get(key, key)
    if not rest:
        runner.screen.told(f"{name} {_shown(value)}" for name, value in values.items())
        return
    if not text:
        if key not in values:
            parameter(key, "0")  # raises: there is no such parameter
        runner.screen.told([f"{key} {_shown(values[key])}"])
        return
    value: Any = None if text == "none" and key in ("max_tokens", "seed") else text
    if value is not None and key == "max_tokens":
        if not text.isdecimal() or int(text) < 1:
            raise UsageError(f"max_tokens is {text}: must be a whole number of 1 or more, or none")
        value = int(text)
    elif value is not None:
        value = parameter(key, text)
    if key == "max_tokens":
        settings.max_tokens = value
    else:
        settings.sampling = replace(settings.sampling, **{key: value})
    runner.save({"type": "set", "name": key, "value": value})
    runner.screen.aside(f"({key} is now {_shown(value)}, was {_shown(values[key])})")


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


def think(runner: TurnRunner, rest: str) -> None:
    """[on|off|auto|show|fold|hide]: show the last thought, or set whether the model thinks or how that is shown"""
    if rest in ("on", "off", "auto"):
        runner.chat.set_think(rest)  # type: ignore[arg-type]
        runner.save({"type": "set", "name": "think", "value": rest})
        runner.screen.aside(f"(thinking: {rest})")
    elif rest in list(ShownThoughts):
        runner.screen.thoughts = ShownThoughts(rest)
        how = {"show": "shown", "fold": "shown as one line", "hide": "hidden"}[rest]
        runner.screen.aside(f"(thinking is {how})")
    elif rest:
        raise UsageError(f"/think {rest}: must be on, off, auto, show, fold or hide")
    else:
        turns = runner.chat.conversation.turns
        runner.screen.plain((turns[-1].thought if turns else "") or "(the last answer has no thought)")


def context(runner: TurnRunner, rest: str) -> None:
    """show how full the context is, and which turns the model sees"""
    conversation, n_ctx = runner.chat.conversation, runner.chat.session.n_ctx
    n = len(runner.chat.prompt().ids) if conversation.turns else 0
    visible, hidden = conversation.visible(), conversation.first
    seen = "the last turn" if visible == 1 and hidden else counted(visible, "turn")
    if hidden:
        seen += f" and a summary of {hidden} older" if conversation.summary else f", but not the {hidden} older"
        seen += " one" if hidden == 1 else " ones"
    runner.screen.told([f"{n} of {n_ctx} tokens ({100 * n // n_ctx}%); the model sees {seen}"])


def stats(runner: TurnRunner, rest: str) -> None:
    """show the speed of the last answer"""
    runner.screen.told([summary(runner.end) if runner.end else "there is no answer yet"])


def copy_(runner: TurnRunner, rest: str) -> None:
    """[code]: copy the last answer to the clipboard, or the last block of code in it"""
    turns = runner.chat.conversation.turns
    text, what = (turns[-1].answer if turns else ""), "the last answer"
    if not text:
        raise UsageError("there is no answer to copy")
    if rest == "code":
        blocks = BLOCK.findall(text)
        if not blocks:
            raise UsageError("the last answer has no block of code", "/copy copies all of it")
        text, what = blocks[-1][1], "the last block of code"
    elif rest:
        raise UsageError(f"/copy {escaped(rest)}: must be code, or nothing for the whole answer")
    taker = copy(text)
    if not taker:
        raise UsageError("no clipboard was found", "/save FILE writes the conversation to a file")
    runner.screen.aside(f"(copied {what}, {counted(len(text), 'character')}, with {taker})")


def raw(runner: TurnRunner, rest: str) -> None:
    """switch between formatted Markdown and plain text"""
    runner.screen.render = Rendering.off if runner.screen.draws_markdown else Rendering.on
    how = "formatted" if runner.screen.draws_markdown else "shown as plain text"
    runner.screen.aside(f"(Markdown is {how})")


COMMANDS: Mapping[str, Callable[[TurnRunner, str], None]] = {
    "help": help_,
    "clear": clear,
    "undo": undo,
    "retry": retry,
    "continue": continue_,
    "edit": edit,
    "read": read,
    "system": system,
    "set": set_,
    "model": model,
    "think": think,
    "context": context,
    "stats": stats,
    "save": save,
    "sessions": sessions,
    "load": load,
    "copy": copy_,
    "raw": raw,
}
SHORT_NAMES = {"temp": "temperature", "n": "max_tokens", "typical": "typical_p"}  # as the command line has them
