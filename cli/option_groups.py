"""Groups of options: a parameter of a command whose type is a dataclass stands for the fields of that class.

An option that is a setting, too, may be given by the user's settings (`cli/config`): it is declared by `setting`, or
its type is annotated with SETTING.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Self, get_type_hints

import typer

PARSED = "parsed"  # where a field's metadata says how it is parsed
SETTING = "setting"  # marks a setting, in the metadata of a field or of a type
SETTLED = "settled"  # the field of a group that is not an option


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A group that knows which of its options come from the user's settings, and were not typed."""

    settled: frozenset[str] = field(default=frozenset(), compare=False)

    def typed(self) -> Self:
        """The group as if there were no settings."""
        defaults = {of.name: default_of(of) for of in options_of(type(self)) if of.name in self.settled}
        return replace(self, **defaults, settled=frozenset())


def option(*names: str, default: Any = None, **how: Any) -> Any:
    """A field of a group that is given as an option; `how` is what `typer.Option` takes."""
    return _field(default, typer.Option(*names, **how))


def setting(*names: str, default: Any = None, **how: Any) -> Any:
    """A field of a group that is given as an option or by the user's settings; `how` is what `typer.Option` takes."""
    return _field(default, typer.Option(*names, **how), is_setting=True)


def argument(*, default: Any = None, **how: Any) -> Any:
    """A field of a group that is given as an argument; `how` is what `typer.Argument` takes."""
    return _field(default, typer.Argument(**how))


def _field(default: Any, parsed: Any, *, is_setting: bool = False) -> Any:
    metadata = {PARSED: parsed, SETTING: is_setting}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(group: Any) -> list[Field[Any]]:
    """The fields of a group that are options or arguments."""
    return [of for of in fields(group) if of.name != SETTLED]


def values_of(group: Any) -> dict[str, Any]:
    """The values of a group's options by name."""
    return {of.name: getattr(group, of.name) for of in options_of(group)}


def default_of(of: Field[Any]) -> Any:
    """The default of a field."""
    return of.default_factory() if of.default_factory is not MISSING else of.default


def hints_of(group: type[Any]) -> dict[str, Any]:
    """The types of a group's options, annotated with how they are parsed, and with SETTING where they are settings."""
    hints = get_type_hints(group, include_extras=True)
    return {of.name: _annotated(hints[of.name], of) for of in options_of(group)}


def is_setting(hint: Any) -> bool:
    """Whether an option of this annotated type is a setting."""
    return SETTING in getattr(hint, "__metadata__", ())


def _annotated(hint: Any, of: Field[Any]) -> Any:
    if not of.metadata:
        return hint
    hint = Annotated[hint, of.metadata[PARSED]]
    return Annotated[hint, SETTING] if of.metadata[SETTING] else hint


def flattened(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` as the parser sees it: the fields of each group are parameters of their own, in the group's place.

    Its attribute `settled` takes the names of those that come from the user's settings.
    """
    types = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: type for name, type in types.items() if _is_group(type)}
    settled: set[str] = set()

    def call(**given: Any) -> Any:
        for name, group in groups.items():
            values = {of.name: given.pop(of.name) for of in options_of(group)}
            if issubclass(group, Settled):
                values[SETTLED] = frozenset(settled & values.keys())
            given[name] = group(**values)
        return command(**given)

    parameters = [*_parameters(command, types)]
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    call.settled = settled  # type: ignore[attr-defined]
    return call


def _is_group(type: Any) -> bool:
    return is_dataclass(type)


def _parameters(command: Callable[..., Any], types: dict[str, Any]) -> Iterator[Parameter]:
    for parameter in signature(command).parameters.values():
        type = types[parameter.name]
        if not _is_group(type):
            yield parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=type)
            continue
        hints = hints_of(type)
        for of in options_of(type):
            yield Parameter(of.name, Parameter.KEYWORD_ONLY, default=default_of(of), annotation=hints[of.name])
