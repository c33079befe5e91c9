"""The program: finds the command, and turns whatever goes wrong into one line and an exit code.

A command is a function, or a `typer.Typer` of several, in the file of its name and under its name; it is imported when
it is called, so that help comes at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from importlib import import_module
from itertools import takewhile
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import BadFileError, LlmlocalError, NotFoundError, ResourceError, UsageError, is_out_of_memory
from ..files import mapped
from ..quant.user_folders import ensure_home
from ..text import shown
from . import numpy_loader
from .config.parser import group_with_settings, with_settings
from .help_format import Context, format_help, summary
from .model_argument import with_models
from .option_groups import flattened, parameter
from .parse_errors import usage_error
from .ui import mapped_file_error, standard_streams, terminal

COMMANDS = (
    "run",
    "chat",
    "ask",
    "batch",
    "replay",
    "sessions",
    "serve",
    "show",
    "tokenize",
    "embed",
    "rerank",
    "fill",
    "perplexity",
    "bench",
    "convert",
    "quantize",
    "imatrix",
    "compare",
    "gguf",
    "warmup",
    "doctor",
    "pull",
    "list",
    "path",
    "rm",
    "prune",
    "verify",
    "alias",
    "config",
    "completion",
    "help",
)
NEXT = (
    ('llmlocal run "what can you do?"', "ask the built-in guide; no network needed"),
    ("llmlocal chat", "chat with the guide"),
    ("llmlocal list --available", "list models that can be downloaded"),
    ("llmlocal pull qwen3-0.6b", "download a model"),
    ("llmlocal chat qwen3-0.6b", "chat with it"),
    ("llmlocal doctor", "check this machine"),
    ("llmlocal --help", "list all commands"),
)
INTERRUPTED, BROKEN_PIPE, TERMINATED = 128 + signal.SIGINT, 141, 128 + signal.SIGTERM
# What the parser raises has no public name of its own, but this subclass has.
ParseError: type[Exception] = typer.BadParameter.__mro__[1]


class Commands(TyperGroup):
    """The commands by name; the parser asks for one, or for all when it lists them."""

    context_class = Context

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        names: Any = dict.fromkeys(COMMANDS)  # for lists and for "did you mean"
        self.commands = names

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        cmd_name = "list" if cmd_name == "ls" else cmd_name
        if cmd_name not in COMMANDS:
            return None
        found = _definition(cmd_name)
        if isinstance(found, typer.Typer):  # a command with subcommands
            return format_help(with_models(group_with_settings(found)))
        app, call = typer.Typer(add_completion=False, rich_markup_mode=None), flattened(found)
        app.command(cmd_name)(call)
        return format_help(with_models(with_settings(typer.main.get_command(app), call)))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, of which no parser is made for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(_help(_definition(name)))) for name in COMMANDS])


def _definition(name: str) -> Any:
    return getattr(import_module(f".commands.{name}", __package__), name)


def _help(found: Any) -> str:
    return (found.info.help if isinstance(found, typer.Typer) else found.__doc__) or ""


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        terminal.say(f"llmlocal {__version__}")
        raise typer.Exit


@app.callback()
def llmlocal(
    ctx: typer.Context,
    version: Annotated[
        bool, parameter("--version", "Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Run language models on this machine's CPU.

    \b
    Examples: llmlocal run "how do I get a model?"
              llmlocal help run
    """
    if ctx.invoked_subcommand is None:
        terminal.say(_next_steps(ctx))


def _next_steps(ctx: typer.Context) -> str:
    formatter = ctx.make_formatter()
    formatter.write_text("Run language models on this machine's CPU. Next steps:")
    formatter.write("\n")
    formatter.indent()
    formatter.write_dl(NEXT, col_max=len(NEXT[0][0]), col_spacing=3)
    return formatter.getvalue().rstrip("\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the program on `arguments` (those of the process) and return its exit code: the one error boundary."""
    standard_streams.fill()
    ensure_home()
    numpy_loader.install()
    if arguments is None and not os.environ.get("LLMLOCAL_DEBUG"):
        warnings.simplefilter("ignore")  # libraries' remarks for developers; tests see them
        sys.unraisablehook = _remark
    arguments = sys.argv[1:] if arguments is None else arguments
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    mapped.listeners[:] = [mapped_file_error.install_for_reading]
    terminal.begin()
    try:
        code = _invoke(arguments)
        terminal.flush()
        return code
    except BaseException as error:
        return _reported(error, as_json="--json" in takewhile("--".__ne__, arguments))
    finally:
        signal.signal(signal.SIGTERM, before)


def _remark(unraisable: Any) -> None:
    """Python's remark on an error that nothing can catch; where memory ends, an error that says so follows."""
    if not is_out_of_memory(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def _invoke(arguments: list[str]) -> int:
    """Parse and run, without Typer's own boundary, which has other codes and other words."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("llmlocal", arguments) as ctx:
            command.invoke(ctx)
    except typer.Exit as error:
        return error.exit_code
    except ParseError as error:
        raise usage_error(error, arguments) from error
    return 0


def _reported(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong, and return the exit code for it; `as_json`: on stdout as an object, too."""
    try:
        if isinstance(error, BrokenPipeError):
            terminal.drop_output()
            return BROKEN_PIPE
        if isinstance(error, KeyboardInterrupt):
            terminal.flush()
            return INTERRUPTED
        if isinstance(error, SystemExit):
            terminal.flush()
            return error.code if isinstance(error.code, int) else 70
        known = _for_users(error)
        terminal.report(known, error if os.environ.get("LLMLOCAL_DEBUG") else None)
        if as_json:
            terminal.report_json(known)
        terminal.flush_or_drop()
        return known.exit_code
    except BrokenPipeError:
        terminal.drop_output()
        return BROKEN_PIPE


def _memory_hint(error: BaseException) -> str:
    if "start new thread" in str(error):
        return "no thread can be started: raise what ulimit -u or ulimit -v shows"
    if sys.platform != "win32":
        import resource

        for letter, kind in (("v", resource.RLIMIT_AS), ("d", resource.RLIMIT_DATA)):
            if (limit := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY:
                return f"raise the limit of {limit >> 20} MiB that ulimit -{letter} shows, or use a smaller model"
    return "use a smaller model or a smaller --ctx"


def _for_users(error: BaseException) -> LlmlocalError:
    """`error` in words for users; what they cannot have caused is our bug."""
    if isinstance(error, LlmlocalError):
        return error
    if isinstance(error, RecursionError):
        return BadFileError("what was read is nested too deeply", "set LLMLOCAL_DEBUG=1 to see where")
    if is_out_of_memory(error):
        return ResourceError("not enough memory", _memory_hint(error))
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return ResourceError("too many files are open", "raise the limit: ulimit -n")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"cannot write: {error.strerror}")
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # asked of a file, before it is opened
        return NotFoundError(f"{shown(str(error.filename))}: no such file: its name is too long")
    if isinstance(error, PermissionError):
        return BadFileError(f"{shown(str(error.filename))}: {error.strerror}")
    from ..quant.jit.cpu import InstructionSetError

    if isinstance(error, InstructionSetError):
        return UsageError(str(error), "unset LLMLOCAL_ISA, or set it to one of these")
    return LlmlocalError(f"internal: {type(error).__name__}: {error}", "set LLMLOCAL_DEBUG=1 for the traceback")
