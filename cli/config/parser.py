"""Settings and the parser: an option that was not typed takes its value from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

import typer

from ..option_groups import SETTLED, is_setting
from ..ui import terminal
from .setting import Setting
from .sources import Sources
from .variables import misspelt

PRESET = "preset"  # the option that names one


def group_with_settings(app: typer.Typer) -> Any:
    """A group of commands, parsed; see `with_settings`."""
    group: Any = typer.main.get_group(app)
    for info in app.registered_commands:
        call: Any = info.callback
        with_settings(group.commands[info.name or call.__name__], call)
    return group


def with_settings(command: Any, call: Callable[..., Any]) -> Any:
    """`command` (a parsed one), made of the flattened `call`, whose options are given by the user's settings, too."""
    hints = get_type_hints(call, include_extras=True)
    named = {name: Setting.of(hint) for name, hint in hints.items() if is_setting(hint)}
    sources = Sources()
    for parameter in command.params:
        if parameter.name in named:
            typed, setting = parameter.consume_value, named[parameter.name]
            parameter.consume_value = partial(_consume, typed, parameter.name, setting, sources, call)
        elif parameter.name == PRESET:
            parameter.consume_value = partial(_check_preset, parameter.consume_value, named, sources)
    command.parse_args = partial(_parse, command.parse_args, named)
    return command


def _parse(parse: Callable[..., Any], named: Mapping[str, Setting], ctx: Any, arguments: list[str]) -> Any:
    """What the parser makes of the arguments; a note tells of variables that are misspelt."""
    for name, near in () if ctx.resilient_parsing else misspelt(named.values()):
        terminal.note(f"{name} has no effect: did you mean {near}?")
    return parse(ctx, arguments)


def _consume(
    typed: Callable[..., Any], name: str, setting: Setting, sources: Sources, call: Any, ctx: Any, opts: Any
) -> Any:
    """The value of an option, and where it comes from, as the parser asks for it."""
    value, source = typed(ctx, opts)
    if opts.get(name) is not None or ctx.resilient_parsing:
        return value, source
    found = sources.find(setting, opts.get(PRESET))
    if found is None:
        return value, source
    if hasattr(call, SETTLED):
        call.settled.add(name)
    return setting.used(found.value), source


def _check_preset(
    typed: Callable[..., Any], named: Mapping[str, Setting], sources: Sources, ctx: Any, opts: Any
) -> Any:
    """The name of the preset, which exists; a note says which of its settings the command does not have."""
    value, source = typed(ctx, opts)
    if value is not None and not ctx.resilient_parsing:
        known = {setting.name for setting in named.values()}
        others = [key for key in sources.preset(value) if key not in known]
        quiet = sources.find(named["quiet"], value) if "quiet" in named else None
        if others and not (opts.get("quiet") or (quiet and quiet.value)):
            terminal.note(f"preset {value}: {', '.join(others)} has no effect on {ctx.command_path}")
    return value, source
