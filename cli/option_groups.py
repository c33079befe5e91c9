"""Groups of options: a parameter of a command whose type is a dataclass stands for the fields of that class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints


def flattened(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` as the parser sees it: the fields of each group are parameters of their own, in the group's place."""
    types = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: type for name, type in types.items() if is_dataclass(type)}

    def call(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
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
        for field in fields(type):
            yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=_default(field), annotation=hints[field.name])


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return Parameter.empty if field.default is MISSING else field.default
