"""Groups of options: a parameter of a command whose type is a dataclass stands for the fields of that class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, field, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_type_hints

import typer

PARSED = "parsed"  # where a field's metadata says how it is parsed


def option(*names: str, default: Any = None, **how: Any) -> Any:
    """A field of a group that is given as an option; `how` is what `typer.Option` takes."""
    return _field(default, typer.Option(*names, **how))


def argument(*, default: Any = None, **how: Any) -> Any:
    """A field of a group that is given as an argument; `how` is what `typer.Argument` takes."""
    return _field(default, typer.Argument(**how))


def _field(default: Any, parsed: Any) -> Any:
    metadata = {PARSED: parsed}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def flattened(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` as the parser sees it: the fields of each group are parameters of their own, in the group's place."""
    types = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: type for name, type in types.items() if is_dataclass(type)}

    def call(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = group(**{of.name: given.pop(of.name) for of in fields(group)})
        return command(**given)

    parameters = [*_parameters(command, types)]
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return call


def _parameters(command: Callable[..., Any], types: dict[str, Any]) -> Iterator[Parameter]:
    for parameter in signature(command).parameters.values():
        type = types[parameter.name]
        if not is_dataclass(type):
            yield parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=type)
            continue
        hints = get_type_hints(type, include_extras=True)
        for of in fields(type):
            hint = Annotated[hints[of.name], of.metadata[PARSED]] if of.metadata else hints[of.name]
            yield Parameter(of.name, Parameter.KEYWORD_ONLY, default=_default(of), annotation=hint)


def _default(of: Field[Any]) -> Any:
    return of.default_factory() if of.default_factory is not MISSING else of.default
