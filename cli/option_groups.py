"""Groups of options: a parameter of a command whose type is an `OptionGroup` stands for the fields of that class.

An option that is a setting, too, may be given by the user's settings (`cli/config`): it is declared by `setting`, or
its type is annotated with SETTING.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, ClassVar, NamedTuple, Self, dataclass_transform, get_type_hints

import typer

SETTING = "setting"  # marks a setting, in the metadata of a type
SETTLED = "settled"  # the field of a group that is not an option


class Field(NamedTuple):
    """The default of a field of a group, and how it is parsed; None where its type says that."""

    default: Any
    parsed: Any = None
    is_setting: bool = False

    def annotated(self, hint: Any) -> Any:
        """The type of the field, annotated with how it is parsed, and with SETTING where it is a setting."""
        if self.parsed is None:
            return hint
        return Annotated[hint, self.parsed, SETTING] if self.is_setting else Annotated[hint, self.parsed]


def parameter(spelling: str, help: str, **how: Any) -> Any:
    """What annotates the type of an option; `spelling` and `how` as those of `option`. Choices take either case."""
    words = spelling.split(" ")
    names = [word for word in words if word.startswith("-")]
    return typer.Option(*names, metavar=" ".join(words[len(names) :]) or None, help=help, case_sensitive=False, **how)


def positional(metavar: str, help: str, **how: Any) -> Any:
    """What annotates the type of an argument; `how` is what else `typer.Argument` takes."""
    return typer.Argument(metavar=metavar, help=help, show_default=False, **how)


def option(spelling: str, help: str, *, default: Any = None, **how: Any) -> Any:
    """A field of a group that is given as an option, spelled as a manual does: `-o --output FILE`.

    `how` is what else `typer.Option` takes.
    """
    return Field(default, parameter(spelling, help, **how))


def setting(spelling: str, help: str, *, default: Any = None, **how: Any) -> Any:
    """As `option`, a field that may also be given by the user's settings."""
    return Field(default, parameter(spelling, help, **how), is_setting=True)


def argument(metavar: str, help: str, *, default: Any = None, **how: Any) -> Any:
    """A field of a group that is given as an argument; `how` as that of `positional`."""
    return Field(default, positional(metavar, help, **how))


@dataclass_transform(kw_only_default=True, frozen_default=True)
class OptionGroup:
    """Base class of groups: a class's annotated names are its fields, with their defaults, as those of a dataclass.

    Dataclasses themselves would cost two milliseconds each when the program starts.
    """

    fields: ClassVar[dict[str, Field]] = {}

    def __init_subclass__(cls) -> None:
        declared = {name: getattr(cls, name) for name in vars(cls).get("__annotations__", ())}
        own = {name: value if isinstance(value, Field) else Field(value) for name, value in declared.items()}
        cls.fields = {**cls.fields, **own}

    def __init__(self, **values: Any) -> None:
        if unknown := values.keys() - self.fields.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name, field in self.fields.items():
            default = field.default.copy() if isinstance(field.default, list) else field.default
            object.__setattr__(self, name, values.get(name, default))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and values_of(self) == values_of(other)

    __hash__ = None  # type: ignore[assignment]  # lists are among the values

    def replace(self, **values: Any) -> Self:
        """The group with some values changed."""
        return type(self)(**{**vars(self), **values})


class Settled(OptionGroup):
    """A group that knows which of its options come from the user's settings, and were not typed."""

    settled: frozenset[str] = frozenset()

    def typed(self) -> Self:
        """The group as if there were no settings."""
        defaults = {name: field.default for name, field in options_of(type(self)).items() if name in self.settled}
        return self.replace(**defaults, settled=frozenset())


def options_of(group: type[OptionGroup]) -> dict[str, Field]:
    """The fields of a group that are options or arguments, by name."""
    return {name: field for name, field in group.fields.items() if name != SETTLED}


def values_of(group: OptionGroup) -> dict[str, Any]:
    """The values of a group's options by name."""
    return {name: getattr(group, name) for name in options_of(type(group))}


def hints_of(group: type[OptionGroup]) -> dict[str, Any]:
    """The types of a group's options, annotated with how they are parsed, and with SETTING where they are settings."""
    hints = get_type_hints(group, include_extras=True)
    return {name: field.annotated(hints[name]) for name, field in options_of(group).items()}


def is_setting(hint: Any) -> bool:
    """Whether an option of this annotated type is a setting."""
    return SETTING in getattr(hint, "__metadata__", ())


def is_group(type_: Any) -> bool:
    """Whether this is the type of a group of options."""
    return isinstance(type_, type) and issubclass(type_, OptionGroup)


def flattened(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` as the parser sees it: the fields of each group are parameters of their own, in the group's place.

    Its attribute `settled` takes the names of those that come from the user's settings.
    """
    types = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: type for name, type in types.items() if is_group(type)}
    settled: set[str] = set()

    def call(**given: Any) -> Any:
        for name, group in groups.items():
            values = {option: given.pop(option) for option in options_of(group)}
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


def _parameters(command: Callable[..., Any], types: dict[str, Any]) -> Iterator[Parameter]:
    for parameter in signature(command).parameters.values():
        type = types[parameter.name]
        if not is_group(type):
            yield parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=type)
            continue
        fields = options_of(type)
        for option, hint in hints_of(type).items():
            yield Parameter(option, Parameter.KEYWORD_ONLY, default=fields[option].default, annotation=hint)
